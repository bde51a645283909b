"""What the demo does when; every number in one place."""

from dataclasses import dataclass
from pathlib import Path


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
    num_test_tasks: int = 512
    num_sampled_tasks: int = 128
    samples_per_task: int = 64
    controls: bool = True
    """Also train on with supervised data from where RL began, for as many sequences as RL had."""
    limit_s: float = 900.0
    """The run must end within this."""


FAST, SLOW, DOOMED, LATE = "fast", "slow", "doomed", "late"
CAST = {
    FAST: "works all the time",
    SLOW: "rests two thirds of the time",
    DOOMED: "is killed in the middle of a lease",
    LATE: "joins when others have learned already",
}
