"""What `bench churn` measures: a tiny model, few members, and how they are disturbed.

Parts: `Plan`, `ARMS`, `recipe_of`. Law: arms of a seed differ in nothing but whether members are disturbed and what
becomes of late contributions.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from archipel.bench.churn_schedule import Rates
from archipel.records.recipe_pretrain import PretrainRecipe

Late = Literal["drop", "use"]
UNDISTURBED = "undisturbed"
LATE_RULES: tuple[Late, ...] = ("drop", "use")


@dataclass(frozen=True)
class Plan:
    """One measurement."""

    seeds: tuple[int, ...] = (0, 1)
    late: tuple[Late, ...] = LATE_RULES
    """A disturbed arm for each of these rules."""
    members: int = 4
    versions: int = 8
    steps: int = 12
    """Inner steps of one contribution."""
    batch: int = 8
    rates: Rates = field(default_factory=Rates)
    share: float = 0.25
    """Of the time, that a slowed member's work process runs."""
    waits_s: float = 8.0
    """The shortest time that a contribution is waited for."""
    minutes: float = 30.0
    """One arm may take, its starting and ending included."""

    def __post_init__(self) -> None:
        if self.members < 2 or self.versions < 2 or not 0 < self.share < 1:
            raise ValueError(
                f"got {self.members} members, {self.versions} versions, a share of {self.share}; expected at least two of "
                "each, and a share between 0 and 1"
            )

    @property
    def arms(self) -> tuple[str, ...]:
        """Of each seed, in their order."""
        return (UNDISTURBED, *self.late)

    @property
    def quorum(self) -> int:
        """Half of the members, as most are never away."""
        return max(1, self.members // 2)


MODEL = {
    "family": "llama",
    "hidden_size": 96,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 4,
    "intermediate_size": 288,
    "max_position_embeddings": 128,
    "tokenizer": "bytes",
}
"""0.29 million weights."""
QUICK = replace(Plan(), seeds=(0,), members=3, versions=6, steps=4, batch=4)


def recipe_of(plan: Plan, arm: str, seed: int, corpus: Path) -> PretrainRecipe:
    """Of one arm. corpus: the folder of its text."""
    said = {
        "run": {
            "name": f"churn-{arm}-{seed}",
            "programme": "pretrain",
            "versions": plan.versions,
            "members": plan.members,
            "seed": seed,
            "anchor_every": 4,
            # Contributions older than a published memory may go, and all of them are merged again at the end.
            "checkpoint_every": plan.versions + 1,
        },
        "corpus": {
            "path": str(corpus),
            "sequence_length": 64,
            "batch": plan.batch,
            "epochs": 64,
        },
        "model": MODEL,
        "inner": {
            "learning_rate": 4e-3,
            "steps": plan.steps,
            "min_steps": max(1, -(-plan.steps // 4)),
            "warmup_steps": plan.steps,
            "commit_every": plan.steps,
        },
        "exchange": {"codec": "e3m0"},
        "outer": {"learning_rate": 1.0, "momentum": 0.5},
        "merge": {"quorum": plan.quorum, "late": "drop" if arm == UNDISTURBED else arm},
        "evaluation": {"every": max(1, plan.versions // 3), "windows": 128},
        "lease": {"min_deadline_s": plan.waits_s},
    }
    return PretrainRecipe.model_validate(said)
