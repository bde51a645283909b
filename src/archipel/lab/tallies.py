"""What a lab remembers of how much and how fast a node worked. Frozen values of the state."""

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
class Speed:
    """How fast one node is at one kind of work of one run."""

    kind: str
    run: str
    rate_micro: int = 0
    """Accepted units per second times 10^6, smoothed; 0 before the first."""
    setbacks: int = 0
    """Leases that ran out, less those that were answered since: each halves the next lease and doubles
    the time for it."""
