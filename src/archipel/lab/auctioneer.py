"""What the lab says of its runs' markets when it is time, and the tree heads by which it clears them.

A round is cleared by the root of the entries up to its last reveal, so by one of the past: the tree as it was before
the round was opened is kept, and grown to there. A lab that starts anew while a round is open reads all leaf hashes
once for that.
"""

from archipel.lab import rounds
from archipel.lab.state import LabState
from archipel.ledger.log import Log
from archipel.ledger.merkle import Frontier
from archipel.records.rounds import MarketCleared, MarketOpened


class Auctioneer:
    """Of one lab."""

    def __init__(self, log: Log) -> None:
        """`log`: of the lab."""
        self._log = log
        self._before: Frontier | None = None
        """The tree before any round that is open now; None: unknown, since the lab has just started."""

    def due(self, state: LabState, now_ms: int) -> list[MarketOpened | MarketCleared]:
        """One statement, if any is due: the clearing of a round, or the opening of one."""
        if not state.markets and not any(
            state.runs[name].opened.pace.market for name in state.live
        ):
            return []
        if not any(market.open for market in state.markets.values()):
            self._before = self._log.frontier
        cleared = [self._cleared(state, name) for name in rounds.clearable(state, now_ms)]
        opened = rounds.opening_due(state, now_ms)
        return [each for each in (*cleared, opened) if each is not None][:1]

    def _cleared(self, state: LabState, name: str) -> MarketCleared | None:
        """None until the disk holds the last reveal."""
        opening = state.markets[name].open
        if opening is None or opening.last_reveal is None:
            return rounds.cleared_by(state, name, None)
        if opening.last_reveal > self._log.size:
            return None
        return rounds.cleared_by(state, name, f"sha256:{self._root(opening.last_reveal).hex()}")

    def _root(self, size: int) -> bytes:
        before = self._before
        if before is None or before.size > size:
            before = Frontier()
        return self._log.tree(size, before).root()
