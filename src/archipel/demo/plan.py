"""What the demo does when; every number in one place."""

from dataclasses import dataclass
from pathlib import Path

CHEAT = "int8 weights"
"""What the fifth node does, of `bench.cheats`."""
VARIANT = "w7a8"
"""Of the exact contract: the cheapest, by which any answer can be recomputed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """One performance."""

    folder: Path
    """Everything is written here."""
    seed: int
    """Weights, data and noise follow from it; the verifier's secret is drawn apart."""
    recipe: str = "secret-order"
    slow_duty: float = 0.35
    """Share of the time the slow node works."""
    kill_at: float = 0.3
    """Progress at which a node is killed (SIGKILL), mid-lease."""
    join_at: float = 0.4
    """Progress at which the late node starts."""
    cheat: str | None = CHEAT
    """How the fifth node cheats, of `bench.cheats`; None: there is none, and nothing need be recomputed."""
    cheat_share: float = 0.4
    """In this share of its answers."""
    num_test_tasks: int = 512
    num_sampled_tasks: int = 128
    samples_per_task: int = 64
    controls: bool = True
    """Also train on with supervised data from where RL began, for as many sequences as RL had."""
    release: bool = True
    """Also release the model, and look at the release."""
    limit_s: float = 900.0
    """The run must end within this."""


FAST, SLOW, DOOMED, LATE, SLY = "fast", "slow", "doomed", "late", "sly"
CAST = {
    FAST: "works all the time",
    SLOW: "rests two thirds of the time",
    DOOMED: "is killed in the middle of a lease",
    LATE: "joins when others have learned already",
    SLY: "samples two answers in five from rounded weights, and says nothing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RealPlan:
    """One performance with a real pretrained model."""

    folder: Path
    """Everything is written here; a plan of the same seed goes on with what it finds."""
    seed: int
    model: Path
    """A GGUF file, or a model directory."""
    task: str = "sums"
    """One of `bench.real_tasks`."""
    slow_duty: float = 0.4
    """Share of the time the slow node works."""
    num_test_tasks: int = 200
    num_sampled_tasks: int = 64
    samples_per_task: int = 8
    control_updates: int = 10
    """With rewards by chance; 0 for no control."""
    threads: int = 2
    """Of what runs alone, before and after."""
    limit_s: float = 5400.0
    """The run must end within this; on two quiet cores it takes minutes."""


REAL_CAST = {
    FAST: "works all the time",
    SLOW: "rests more than half of the time",
}
