"""What a lab begins with, beside its key, its ledger and its blobs. Frozen; everything in it may be left out."""

from dataclasses import dataclass

from archipel.lab.state import LabState


@dataclass(frozen=True, slots=True)
class Start:
    """See the module's text."""

    uplink: int | None = None
    """See `Mesh`."""
    warm: LabState | None = None
    """What it folded while it followed another lab: a state of the ledger's first entries."""


PLAIN = Start()
"""Nothing."""
