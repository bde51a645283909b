"""Roots of the entries so far: by which draws, clearings and successions say that they were made. For whoever folds a ledger."""

from archipel.lab.apply import Contradiction
from archipel.lab.seeding import MAX_DRAW_LAG
from archipel.ledger.merkle import Frontier, leaf_hash
from archipel.records.audits import AuditsDrawn
from archipel.records.rounds import MarketCleared
from archipel.records.seeded import RunSeeded
from archipel.records.succession import LabSucceeded


class Trees:
    """The tree of the entries so far, as far back as a draw may reach; a level of it at a time costs least."""

    def __init__(self) -> None:
        self._base = Frontier()
        self._newest: list[bytes] = []
        """Leaf hashes after it."""
        self._tip = Frontier()
        self._after: list[bytes] = []
        """Leaf hashes after the tip, which goes on at every reveal."""
        self._roots: dict[str, tuple[int, str]] = {}
        """Run -> (entries, root) up to the newest reveal in its market."""

    def add(self, entry: bytes) -> None:
        """One more entry."""
        self._newest.append(leaf_hash(entry))
        self._after.append(self._newest[-1])
        if len(self._after) > MAX_DRAW_LAG:
            self._reach()
        if len(self._newest) > 2 * MAX_DRAW_LAG:
            self._go_on(MAX_DRAW_LAG)

    def check(self, drawn: AuditsDrawn | RunSeeded) -> None:
        """Raises Contradiction: the root that was drawn by is not that of the entries."""
        found = "unknown"
        if 0 <= drawn.size - self._base.size <= len(self._newest):
            self._go_on(drawn.size - self._base.size)  # a later draw is by more entries
            found = f"sha256:{self._base.root().hex()}"
        if found != drawn.root:
            what = "audits were"
            if isinstance(drawn, RunSeeded):
                what = f"the noise of {drawn.run} was"
            raise Contradiction(
                f"{what} drawn by {drawn.root} as the root of {drawn.size} entries, which is {found}"
            )

    def check_taken_over(self, said: LabSucceeded) -> None:
        """Raises Contradiction: the prefix that a successor says it took over is not that of the entries."""
        self._reach()
        found = (self._tip.size, f"sha256:{self._tip.root().hex()}")
        if (said.size, said.root) != found:
            raise Contradiction(
                f"{said.author} took over {said.size} entries under {said.root}; these are {found[0]} under {found[1]}"
            )

    def remember(self, run: str) -> None:
        """The newest entry is a reveal in the market of `run`: its round may be cleared by the root up to here."""
        self._reach()
        self._roots[run] = (self._tip.size, f"sha256:{self._tip.root().hex()}")

    def _reach(self) -> None:
        self._tip = self._tip.extended(self._after)
        self._after.clear()

    def check_seed(self, cleared: MarketCleared) -> None:
        """Raises Contradiction: the root by which a round was cleared is not that of the entries up to its last reveal."""
        if cleared.seed_root is None:
            return
        size, root = self._roots.get(cleared.run, (0, "unknown"))
        if (cleared.seed_size, cleared.seed_root) != (size, root):
            raise Contradiction(
                f"round {cleared.number} of {cleared.run} was cleared by {cleared.seed_root} as the root of "
                f"{cleared.seed_size} entries; the last reveal is in {size}, whose root is {root}"
            )

    def _go_on(self, num: int) -> None:
        self._base = self._base.extended(self._newest[:num])
        del self._newest[:num]
