"""From a ledger to a state: from its beginning, or from the newest snapshot on.

`replayed` believes nothing but the entries, and checks every snapshot whose form it knows; `recover` is how a lab
starts: its own newest snapshot, then the entries after it.
"""

import base64
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from archipel.blobs.errors import BlobError
from archipel.lab.apply import MAX_SNAPSHOT_LAG, Contradiction, apply, begun
from archipel.lab.entry import Entry, read_entry, read_examined
from archipel.lab.examining import Read, read_entries
from archipel.lab.retelling import Retold, retold
from archipel.lab.snapshots import ENCODERS, FORMAT, BadSnapshot, decode_state
from archipel.lab.state import LabState
from archipel.lab.trees import Trees
from archipel.records.audits import AuditsDrawn
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.rounds import BidRevealed, MarketCleared
from archipel.records.seeded import RunSeeded
from archipel.records.statements import Recorded, SnapshotTaken
from archipel.records.succession import LabSucceeded

logger = logging.getLogger("archipel.lab")

PAGE = 1000
"""Entries read from the ledger at a time."""
KEEP_EVERY = 256
"""Entries from one state that a replay keeps to the next."""
MAX_SEARCH = 200_000
"""Newest entries among which a snapshot is looked for."""
_MARK = b'"kind":"snapshot.taken"'


class Entries(Protocol):
    """What a ledger's log can do for a fold."""

    @property
    def size(self) -> int: ...

    def read(self, start: int, limit: int) -> list[bytes]: ...


class Blobs(Protocol):
    """Where snapshots lie."""

    def read_bytes(self, digest: str, max_bytes: int) -> bytes: ...


def pages(log: Entries, start: int = 0) -> Iterator[bytes]:
    """Entries from `start` on."""
    while start < log.size and (page := log.read(start, PAGE)):
        yield from page
        start += len(page)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a ledger amounts to, and what of it was looked at."""

    state: LabState
    compared: int
    """Snapshots that show the state which the entries before them amount to."""
    passed_over: int
    """Snapshots in a form that this release does not write: nothing was shown of them."""


def replay(lab: str, entries: Iterable[bytes]) -> LabState:
    """The state that a ledger amounts to; raises as `replayed`."""
    return replayed(lab, entries).state


def replayed(
    lab: str, entries: Iterable[bytes], seen: Callable[[Entry], None] = lambda entry: None
) -> Replayed:
    """Fold a ledger from its beginning: every signature verified, every snapshot compared that can be.

    seen: is told every entry once it was found to follow.

    Raises:
        Contradiction: an entry that cannot follow, a snapshot of another state, or a draw by another root.
        InvalidRecord, IdentityError: an entry that is none, or is not by its author.
    """
    replaying = Replaying(lab)
    for read in read_entries(entries):
        replaying.take(read)
        seen(read.entry)
    check_lab(replaying.state, lab)
    return replaying.replayed


def check_lab(state: LabState, lab: str) -> None:
    """Raises Contradiction: it is not this lab's ledger, as far as it was folded."""
    if state.lab != lab:
        raise Contradiction(
            f"after {state.size} entries this is the ledger of {state.lab}, and not of {lab}"
        )


class Replaying:
    """A ledger, folded entry by entry from its beginning; every snapshot compared that can be, every draw checked."""

    def __init__(self, lab: str) -> None:
        self.state = LabState(lab=lab)
        """After the entries so far."""
        self._compared = self._passed_over = 0
        self._recent, self._trees = _Recent(self.state), Trees()

    @property
    def replayed(self) -> Replayed:
        """What they amount to."""
        return Replayed(self.state, self._compared, self._passed_over)

    def take(self, read: Read) -> Retold:
        """One more, of which all of `read_entry` was shown; returns what to tell of it.

        Raises:
            Contradiction: it cannot follow, shows another state, or draws by another root.
        """
        data, statement = read.data, read.entry.statement
        if self.state.size == 0:
            self.state = begun(self.state, statement)
            self._recent = _Recent(self.state)
        following, told = retold(self.state, read.entry)
        if isinstance(statement, SnapshotTaken):
            is_compared = _compare(statement, self._recent.at(statement.size))
            self._compared += is_compared
            self._passed_over += not is_compared
        if isinstance(statement, AuditsDrawn | RunSeeded):
            self._trees.check(statement)
        if isinstance(statement, LabSucceeded):
            self._trees.check_taken_over(statement)
        if isinstance(statement, MarketCleared):
            self._trees.check_seed(statement)
        self._trees.add(data)
        if isinstance(statement, BidRevealed):
            self._trees.remember(statement.run)
        self._recent.add(data, following)
        self.state = following
        return told


class _Recent:
    """The newest states, as far back as a snapshot may be announced. One in so many is kept, and the entries after
    it, which give the others: every state holds some kilobytes that no other shares.
    """

    def __init__(self, first: LabState) -> None:
        self._kept = deque([(first, list[bytes]())])
        """(state, entries after it)"""

    def add(self, data: bytes, following: LabState) -> None:
        """One more entry, and the state after it."""
        self._kept[-1][1].append(data)
        if len(self._kept[-1][1]) == KEEP_EVERY:
            self._kept.append((following, []))
            if following.size - self._kept[1][0].size >= MAX_SNAPSHOT_LAG:
                self._kept.popleft()

    def at(self, size: int) -> LabState | None:
        """The state after the first `size` entries; None if that is too long ago or not yet."""
        for state, after in reversed(self._kept):
            if state.size <= size <= state.size + len(after):
                for data in after[: size - state.size]:
                    entry = read_examined(data)
                    state = apply(state, entry.statement, entry.at_ms)
                return state
        return None


def _compare(taken: SnapshotTaken, state: LabState | None) -> bool:
    """Whether it could be compared; a snapshot of another state raises Contradiction."""
    encoder = ENCODERS.get(taken.format)
    if encoder is None:
        return False
    found = None if state is None else sha256_digest(encoder(state))
    if found != taken.state.digest:
        raise Contradiction(
            f"the snapshot of {taken.size} entries is {taken.state.digest}; they amount to {found}"
        )
    return True


def recover(lab: str, log: Entries, blobs: Blobs, warm: LabState | None = None) -> LabState:
    """The state of a lab's own ledger, from its newest usable snapshot on.

    warm: the state of its first entries, from which it is gone on instead.

    Raises: as `replay`.
    """
    state = snapshot_before(log, blobs, log.size) if warm is None else warm
    if state is None or state.lab != lab:  # or a former lab's: it is folded once from the beginning
        state = LabState(lab=lab)
    for _, entry in read_entries(pages(log, state.size)):
        state = apply(begun(state, entry.statement), entry.statement, entry.at_ms)
    check_lab(state, lab)
    return state


def snapshot_before(log: Entries, blobs: Blobs, size: int) -> LabState | None:
    """The state of the newest usable snapshot of at most `size` entries; None: there is none."""
    for taken in _snapshots(log):
        if taken.size > size:
            continue
        if taken.format != FORMAT:
            logger.warning("snapshot unusable", extra={"reason": f"of format {taken.format}"})
            continue
        try:
            state = decode_state(blobs.read_bytes(taken.state.digest, taken.state.size))
        except (BlobError, BadSnapshot, OSError) as error:
            logger.warning("snapshot unusable", extra={"reason": str(error)})
            continue
        if state.size == taken.size:
            return state
    return None


def newest_snapshot(log: Entries) -> SnapshotTaken | None:
    """The newest snapshot that the ledger announces; None if there is none lately."""
    return next(_snapshots(log), None)


def _snapshots(log: Entries) -> Iterator[SnapshotTaken]:
    """Newest first."""
    end = log.size
    while end > max(0, log.size - MAX_SEARCH):
        start = max(0, end - PAGE)
        for data in reversed(log.read(start, end - start)):
            if _MARK in _payload(data):
                statement: Recorded = read_entry(data).statement
                if isinstance(statement, SnapshotTaken):
                    yield statement
        end = start


def _payload(entry: bytes) -> bytes:
    return base64.b64decode(json.loads(entry)["record"]["payload"])


def snapshot_ref(data: bytes) -> BlobRef:
    """What a statement says of a snapshot's bytes."""
    return BlobRef(digest=sha256_digest(data), size=len(data))
