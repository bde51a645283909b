"""A lab's ledger, folded by whoever reads it and followed as it grows: a source of looks that believes nobody.

Parts: `Marks` (how entries that are read once more are known again), `Replica`. Laws: a look shows what was verified and
nothing else: every signature, every entry by the rules, all of them under the newest signed head; a ledger that goes back,
forks or breaks a rule stops it for good, and one that cannot be reached is asked again. Beside the state it keeps an eighth of a
byte for each entry.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from archipel.identity import IdentityError
from archipel.lab.apply import Contradiction
from archipel.lab.examining import read_entries
from archipel.lab.growth import Growth
from archipel.lab.look import MAX_ENTRIES, Look
from archipel.lab.recovery import Replaying, check_lab
from archipel.lab.retelling import Retold
from archipel.lab.state import LabState
from archipel.ledger.growing import Growing
from archipel.ledger.merkle import Frontier, leaf_hash
from archipel.ledger.storage import LedgerCorrupt, LedgerError
from archipel.ledger.tree_head import TreeHead
from archipel.records.statements import InvalidRecord, LabOpened

BATCH = 2048
"""Entries that are told at once."""
EVERY_S = 2.0
BLOCK = 256
"""Entries under one mark."""
Tell = Callable[[Sequence[Retold]], None]
FINAL = (LedgerCorrupt, Contradiction, InvalidRecord, IdentityError)
"""What no further look mends."""


class Marks:
    """A hash of every 256 entries, and one of each that came after them."""

    def __init__(self) -> None:
        self.blocks: list[bytes] = []
        """Only ever appended to."""
        self.newest: list[bytes] = []
        self._frontier = Frontier()
        """Of the blocks."""

    @property
    def tree(self) -> Frontier:
        """Of all entries."""
        return self._frontier.extended(self.newest)

    def add(self, entry: bytes) -> None:
        """One more."""
        self.newest.append(leaf_hash(entry))
        if len(self.newest) == BLOCK:
            self._frontier = self._frontier.extended(self.newest)
            self.blocks.append(Frontier().extended(self.newest).root())
            self.newest = []


@dataclass(frozen=True, slots=True)
class _Shown:
    """What was verified, all of it under one head."""

    state: LabState
    at_ms: int
    """When its newest entry was received by the lab."""
    head: TreeHead | None = None
    num_blocks: int = 0
    newest: tuple[bytes, ...] = ()
    """Leaf hashes after them."""


class Replica:
    """Of the lab whose ledger lies at `place`; see the module's text."""

    def __init__(self, lab: str, place: Growing, tell: Tell = lambda batch: None) -> None:
        """tell: is told every entry in order, some at a time, and once more if it raised OSError; of those that come after the first look, only what was verified
        with its head.
        """
        self._lab, self._place, self._tell = lab, place, tell
        self._replaying, self._marks = Replaying(lab), Marks()
        self._told: list[Retold] = []
        """What was folded and not told yet."""
        self._last_ms = 0
        self._shown = _Shown(LabState(lab=lab), 0)
        self._newest: Look | None = None
        self._alone = threading.Lock()
        """Who reads at the place."""
        self._growth = Growth(lambda: self._shown.state.size)
        self._problem: str | None = None

    @property
    def lab(self) -> str:
        """Its key."""
        return self._lab

    @property
    def is_lab(self) -> bool:
        """It knows the ledger and nothing else."""
        return False

    @property
    def problem(self) -> str | None:
        """Why it shows nothing newer, in a sentence; None: nothing keeps it."""
        return self._problem

    def look(self) -> Look:
        """What was verified last, by the time of its newest entry."""
        shown, newest = self._shown, self._newest
        crowd = None if newest is None else newest.crowd
        self._newest = Look(shown.state, shown.at_ms, None, crowd)
        return self._newest

    def head(self) -> str:
        """The head that covers it, a signed note; empty before the first."""
        head = self._shown.head
        return "" if head is None else head.note.decode()

    def entries(self, start: int, limit: int) -> Sequence[bytes]:
        """Entries from `start` on, at most MAX_ENTRIES, as they were verified; reads them at the place.

        Raises:
            LedgerCorrupt: the place shows others now. LedgerError: it cannot be read.
        """
        shown = self._shown
        start, size = max(start, 0), shown.state.size
        end = min(start + min(max(limit, 1), MAX_ENTRIES), size)
        if start >= end:
            return []
        first, until = start // BLOCK * BLOCK, min(-(-end // BLOCK) * BLOCK, size)
        with self._alone:
            found = list(self._place.entries(until, first))
        if len(found) != until - first:
            raise LedgerCorrupt(f"{len(found)} entries came, expected {until - first}")
        for number in range(first, until, BLOCK):
            self._compare(shown, number, found[number - first : number - first + BLOCK])
        return found[start - first : end - first]

    async def grown(self, size: int, limit_s: float) -> int:
        """The size of what is shown once it is above `size`, or after `limit_s`."""
        return await self._growth.above(size, limit_s)

    def grow(self) -> bool:
        """Take in what the newest head covers; whether that was anything. Takes long the first time.

        Raises:
            LedgerCorrupt, Contradiction, InvalidRecord, IdentityError: the ledger does not hold, and `problem` says so.
            LedgerError, OSError: it cannot be read now, or not be told; what is shown stays, and the next call goes on.
        """
        with self._alone:
            head, before = self._place.head(), self._shown.head
            if before is not None and head.size < before.size:
                raise LedgerCorrupt(
                    f"its newest head is over {head.size} entries, and it signed one over {before.size}: it has gone "
                    "back to an older ledger"
                )
            self._take(head)
            if self._marks.tree.root() != head.root:
                raise LedgerCorrupt(
                    f"its {head.size} entries do not lead to the root that it signed"
                    + ("" if before is None else ": it shows two histories, keep both heads")
                )
            check_lab(self._replaying.state, self._lab)
            self._say()
            grew = before is None or head.size > before.size
            marks = self._marks
            self._shown = _Shown(
                self._replaying.state, self._last_ms, head, len(marks.blocks), tuple(marks.newest)
            )
            return grew

    async def follow(self, every_s: float = EVERY_S) -> None:
        """Look again and again, until cancelled or until the ledger does not hold."""
        while True:
            try:
                await asyncio.to_thread(self.grow)
                self._problem = None
            except FINAL as error:
                self._problem = f"this replica stopped at entry {self._shown.state.size}: {error}"
                self._growth.tell()
                return
            except (LedgerError, OSError) as error:
                self._problem = f"nothing newer can be read: {error}; it is tried again"
            self._growth.tell()
            await asyncio.sleep(every_s)

    def close(self) -> None:
        """Whoever waits for growth waits no more."""
        self._growth.close()

    def _take(self, head: TreeHead) -> None:
        """Fold what is missing up to the head."""
        start = self._replaying.state.size
        entries = self._place.entries(head.size, start)
        for number, read in enumerate(read_entries(entries), start):
            if number >= head.size:
                raise LedgerCorrupt(
                    f"more than the {head.size} entries that the signed head covers"
                )
            if number == 0 and not isinstance(read.entry.statement, LabOpened):
                raise Contradiction(f"entry 0 is {read.entry.statement.kind}, expected lab.opened")
            self._told.append(self._replaying.take(read))
            self._marks.add(read.data)
            self._last_ms = read.entry.at_ms
            if len(self._told) >= BATCH:
                self._say()
        if self._replaying.state.size < head.size:
            raise LedgerError(
                f"{self._replaying.state.size} entries came, the head covers {head.size}"
            )

    def _say(self) -> None:
        if self._told:
            self._tell(self._told)
            self._told = []  # not before: whoever could not take it is told again

    def _compare(self, shown: _Shown, number: int, entries: Sequence[bytes]) -> None:
        """The entries of one block, from `number` on, are those that were verified."""
        leaves = [leaf_hash(entry) for entry in entries]
        block = number // BLOCK
        if block < shown.num_blocks:
            is_same = Frontier().extended(leaves).root() == self._marks.blocks[block]
        else:
            is_same = tuple(leaves) == shown.newest[: len(leaves)]
        if not is_same:
            raise LedgerCorrupt(f"entries from {number} on are others now than were verified")
