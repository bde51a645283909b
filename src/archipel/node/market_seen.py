"""What a node reads of a market: the round that is open, the last price, and what was bought of it."""

from dataclasses import dataclass
from typing import Self

from archipel.node.client import LabReader
from archipel.records.bids import Market


@dataclass(frozen=True, slots=True)
class OpenRound:
    """Bids are taken, or opened."""

    number: int
    market: Market
    commit_until_ms: int
    reveal_until_ms: int


@dataclass(frozen=True, slots=True)
class MarketSeen:
    """Of one run, with an eye on one node."""

    opened_at_ms: int
    """The newest round; 0: there was none."""
    open: OpenRound | None
    cleared: int | None
    """Number of the newest round that was cleared."""
    price_micro: int
    """Per million tokens, at full quality, by it."""
    award_micro: int | None
    """What this node is paid by it; None: nothing was bought of it."""

    @classmethod
    async def read(cls, lab: LabReader, run: str, did: str) -> Self:
        """Raises LabUnreachable, LabRefused."""
        raise NotImplementedError
