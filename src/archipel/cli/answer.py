"""`archipel answer`: what somebody signed that a model answered."""

from archipel.cli.archipel import Lazy

COMMANDS = {
    "verify": ("answer_verify", "Recompute a signed answer: equal, or which token differs"),
}

command = Lazy(
    name="answer",
    commands_in=COMMANDS,
    help="Signed answers of served models (docs/how-to/verify-an-answer.md).\n\n"
    "\b\nExamples:\n  archipel answer verify answer.json --model trained",
)
