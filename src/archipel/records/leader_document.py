"""What a lab says of who leads, where several share a ledger."""

from archipel.records.document import Document
from archipel.records.fields import Count


class LeaderFacts(Document):
    """`/leader`: whether a lab leads, where several share a ledger."""

    leads: bool
    """It takes in what it is told; otherwise it follows, and answers nothing else."""
    term: Count | None = None
    """Number of the newest leader's term; None: the ledger is this lab's alone."""
    place: str = ""
    """Where the leader answers; empty: it did not say, or nobody led yet."""
