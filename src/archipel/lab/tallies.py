"""What a lab remembers of how work went: how much and how fast a node did, what fails, why a run stands still. Part of `state`."""

from dataclasses import dataclass

MAX_SPEEDS_REMEMBERED = 8
"""Of how many runs a node's speed is remembered."""
MAX_SETBACKS = 8


@dataclass(frozen=True, slots=True)
class Tally:
    """What one node did of one kind of work."""

    works: int = 0
    units: int = 0
    """Groups, or whatever the kind counts and is paid by."""
    tokens: int = 0
    bytes_in: int = 0
    rate_micro: int = 0
    """Accepted units per second times 10^6, smoothed."""


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
class Speed:
    """How fast one node is at one kind of work of one run."""

    kind: str
    run: str
    rate_micro: int = 0
    """Accepted units per second times 10^6, smoothed; 0 before the first."""
    setbacks: int = 0
    """Leases that ran out, less those that were answered since: each halves the next lease and doubles
    the time for it."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a run hands out nothing for now."""

    by: str
    """Whose key said so."""
    reason: str
    at_ms: int
