"""What a lab shows of who works for a run and who waits, and why."""

from archipel.records.document import Document


class CapacityView(Document):
    """The nodes that keep a run's learner busy, as measured; rates are of rollouts per second."""

    wanted_per_s: float
    """What the learner takes at its target utilisation, while it makes one version after another."""
    brought_per_s: float
    """What the active nodes bring, the time in which they fetch versions counted."""
    target: float
    """Utilisation of the learner that is to be reached."""
    binds: bool
    """Whether the others are given no work; in a run without a market everybody works."""
    active: int
    """Nodes."""
    standby: int
    """Nodes here that were measured and are not active."""
    reasons: dict[str, int]
    """Why a node is active, or is not -> nodes here."""


class PlaceView(Document):
    """What one node is to one run."""

    run: str
    is_active: bool
    waits: bool
    """It is given no work of this run for now."""
    why: str
    ask_micro: int | None = None
    """What it asked in the run's last round, micro-credits per million verified tokens; None: it made no bid there."""
    award_micro: int | None = None
    """What that round pays it; None: nothing of it was bought, or its award has ended."""
