"""What a lab knows of a run's noise. Part of `state`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Noise:
    """How far the noise of a run is drawn from the ledger (`lab.seeding`)."""

    entry: int
    """Position of the lab's first signature for it."""
    seed: int | None = None
    """What the second gave."""
