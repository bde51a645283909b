"""What a lab shows of the compute that was pledged to it, and of what was given."""

from archipel.records.document import Document


class ComputePledgeView(Document):
    """One pledge, beside what its ledger shows of it."""

    provider: str
    name: str
    entry: int
    """Position of its statement in the ledger."""
    purpose: str | None
    """None: pledged to this lab."""
    share: int | None
    """Millionths of the time that the provider's machines work; the lab sees only what they do for it."""
    hours: int | None
    """A week."""
    at_ms: int
    until_ms: int
    withdrawn_ms: int | None
    holds: bool
    given_ms: int
    """From grants to accepted answers, added up: two works at a time count twice."""
    works: int
    tokens: int
    given_hours_a_week: float
    """Over the time since it was made."""


class ComputeView(Document):
    """All pledges of compute that are remembered."""

    lab: str
    size: int
    """Entries of the ledger that this is cut from."""
    now_ms: int
    num_pledges: int
    pledges: tuple[ComputePledgeView, ...]
