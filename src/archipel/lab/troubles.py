"""What stands in the way of a node or a run: work that fails time after time, a pause. Frozen values of the state."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failing:
    """One kind of work of one run, as it failed on one node time after time."""

    kind: str
    run: str
    times: int
    """Failures in a row."""
    at_ms: int
    """When it failed last."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of work of a run, as it failed since an answer of that kind was accepted last."""

    kind: str
    times: int
    nodes: tuple[str, ...]
    """On which it failed, the newest last; the first of many are forgotten."""
    reason: str
    """What the newest of them said; words of a stranger, made fit for a screen."""
    at_ms: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a run hands out nothing for now."""

    by: str
    """Whose key said so."""
    reason: str
    at_ms: int
