"""What a chronicle is made from: an entry of the ledger, and what it moved."""

from collections.abc import Sequence
from dataclasses import dataclass

from archipel.market.journal import Posting
from archipel.records.statements import Recorded


@dataclass(frozen=True, slots=True)
class Told:
    """One entry, once it was folded."""

    number: int
    """Its position in the ledger."""
    at_ms: int
    """By the lab's clock."""
    statement: Recorded
    postings: Sequence[Posting]
    """Credits that it moved, in order."""
