"""`archipel exact`: what the exact contract gives, for anybody to recompute."""

from archipel.cli.archipel import Lazy

COMMANDS = {
    "check": ("exact_check", "Which variant of the contract a model needs, by figures"),
    "replay": (
        "exact_replay",
        "Recompute rollouts of a run from its ledger and blobs: equal, or where not",
    ),
    "trace": ("exact_trace", "Write down every intermediate value of one rollout"),
    "bisect": (
        "exact_bisect",
        "Lead two traces to the one number in which they differ, and decide",
    ),
}

command = Lazy(
    name="exact",
    commands_in=COMMANDS,
    help="Inference whose every bit anybody can recompute (docs/reference/exact.md).\n\n"
    "\b\nExamples:\n  archipel exact check trained --write\n"
    "  archipel exact replay secret-order.7 --lab https://lab.example",
)
