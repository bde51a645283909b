"""Two parties who computed one rollout differently: where, and who is right. docs/reference/exact-disputes.md.

1 the halves of the tree over all rows, down to the first row in which they differ  2 the halves of that
row, down to one chunk  3 the chunk: one number  4 a number of attention: both work it out, and the halves of
their workings lead to one small step of it; a sum of products once more  5 what that is computed from, on which
both agree  6 the judge computes it again. Law: pure; whoever refuses, or shows what it did not commit to,
has lost at once. Shown is who is wrong in that number; not that the other is right in what comes after.
"""

from dataclasses import dataclass, replace

import numpy as np

from archipel.engine.exact.exchange import (
    NAMES,
    Agreed,
    Digests,
    Lost,
    Outcome,
    Side,
    Transcript,
    first_difference,
    level_of,
)
from archipel.engine.exact.hashing import (
    CHUNK,
    DIGEST_BYTES,
    EMPTY,
    NUMBER_BYTES,
    chunk_hash,
    climbed,
    depth_of,
    number_bytes,
    number_of,
    row_of,
    row_tree,
)
from archipel.engine.exact.judge import Judge
from archipel.engine.exact.parties import Ask, Party
from archipel.engine.exact.trace import BadQuestion
from archipel.engine.exact.workings import Read, Working


@dataclass(frozen=True)
class Place:
    """One number of a rollout's computation."""

    position: int
    step: str
    element: int
    within: tuple[str, ...] = ()
    """Which number of its working; then, of that one's."""

    def __str__(self) -> str:
        parts = (f"position {self.position}", self.step, f"number {self.element}", *self.within)
        return ", ".join(parts)


@dataclass(frozen=True)
class Verdict:
    """How a dispute ended."""

    right: Outcome
    """Who is; "equal": there is no dispute."""
    reason: str
    place: Place | None
    transcript: Transcript


def settle(mine: Party, theirs: Party, judge: Judge) -> Verdict:
    """Lead both to the first number in which they differ, and decide.

    Raises:
        BadQuestion: they, or the judge, speak of different rollouts.
        CorruptWeights: the judge's weights are not those of the version.
    """
    if not mine.question.digest == theirs.question.digest == judge.question.digest:
        raise BadQuestion(
            f"{mine.question.digest} and {theirs.question.digest} were computed, asked is "
            f"{judge.question.digest}: these are different rollouts"
        )
    transcript = Transcript()
    transcript.digest_bytes += 2 * DIGEST_BYTES
    if mine.root == theirs.root:
        return Verdict("equal", "both committed to the same numbers", None, transcript)
    sides = (Side("mine", mine, transcript), Side("theirs", theirs, transcript))
    return _Dispute(sides, judge, transcript).settle()


Claims = tuple[bytes, bytes]
"""What each says of one number."""


class _Dispute:
    def __init__(self, sides: tuple[Side, Side], judge: Judge, transcript: Transcript) -> None:
        self._sides, self._judge, self._transcript = sides, judge, transcript
        self._place: Place | None = None
        self._agreed: Agreed = {}
        """Of the tree over all rows."""

    def settle(self) -> Verdict:
        """All steps; numbers as above."""
        try:
            # 1, 2, 3
            leaf, digests = self._row()
            element, claims = self._number(leaf, digests)
            # 4
            working = self._judge.working(leaf, element)
            if working is not None:
                right, claims = self._worked_out(working, leaf, claims, (element,))
            else:
                # 5, 6
                rows = [row_of(self._opened(need)) for need in self._judge.needs(leaf)]
                right = number_bytes(np.float64(self._judge.value(leaf, element, rows)))
        except Lost as lost:
            return Verdict(lost.right, str(lost), self._place, self._transcript)
        return self._decided(right, claims)

    def _row(self) -> tuple[int, Digests]:
        """The first row in which they differ, and its digests."""
        judge, roots = self._judge, (self._sides[0].party.root, self._sides[1].party.root)
        depth = depth_of(judge.num_leaves)
        leaf, digests = first_difference(self._sides, depth, roots, Ask("children"), self._agreed)
        self._none_beyond(leaf < judge.num_leaves, digests)
        position, step = judge.at(leaf)
        self._place = Place(position, str(step), 0)
        return leaf, digests

    def _number(self, leaf: int, digests: Digests) -> tuple[int, Claims]:
        """The first number in which they differ within a row, and what each says of it."""
        width = self._judge.width(leaf)
        chunks = _chunks(width)
        ask = Ask("row children", leaf)
        chunk, digests = first_difference(self._sides, depth_of(chunks), digests, ask, {})
        self._none_beyond(chunk < chunks, digests)
        length = 4 * _length(width, chunk)
        told = [
            row_of(side.chunk(Ask("chunk", leaf, 0, chunk), digest, length))
            for side, digest in zip(self._sides, digests, strict=True)
        ]
        within = int((told[0].view(np.uint32) != told[1].view(np.uint32)).argmax())
        element = chunk * CHUNK + within
        position, step = self._judge.at(leaf)
        self._place = Place(position, str(step), element)
        mine, theirs = (number_bytes(np.float64(each[within])) for each in told)
        return element, (mine, theirs)

    def _worked_out(
        self, working: Working, leaf: int, claims: Claims, within: tuple[int, ...]
    ) -> tuple[bytes, Claims]:
        """The first number in which their workings differ: what is right, and what each says."""
        mine, theirs = (
            side.working(Ask("working", leaf, within=within), claim, working.num)
            for side, claim in zip(self._sides, claims, strict=True)
        )
        agreed: Agreed = {}
        ask = Ask("working children", leaf, within=within)
        depth = depth_of(working.num)
        index, digests = first_difference(self._sides, depth, (mine, theirs), ask, agreed)
        self._place = self._within(working.name(index))
        ask = Ask("number", leaf, 0, index, within)
        mine, theirs = (
            side.chunk(ask, digest, NUMBER_BYTES)
            for side, digest in zip(self._sides, digests, strict=True)
        )
        deeper = working.deeper(index)
        if deeper is not None:
            return self._worked_out(deeper, leaf, (mine, theirs), (*within, index))
        # 5, 6
        source = working.source(index)
        if isinstance(source, Read):
            return number_bytes(self._read(source)), (mine, theirs)
        ask = Ask("agreed number", leaf, within=within)
        needed = [
            number_of(self._sides[0].number(replace(ask, index=need), agreed)) for need in source
        ]
        return number_bytes(working.value(index, needed)), (mine, theirs)

    def _within(self, name: str) -> Place | None:
        place = self._place
        return None if place is None else replace(place, within=(*place.within, name))

    def _none_beyond(self, exists: bool, digests: Digests) -> None:
        """Where nothing was to be committed to, whoever did has lost."""
        if not exists:
            for side, digest in zip(self._sides, digests, strict=True):
                if digest != EMPTY:
                    raise Lost(side.name, "committed to more than there is")

    def _opened(self, leaf: int) -> bytes:
        """A row on which both agree, as the first side shows it."""
        side, level = self._sides[0], level_of(leaf, self._agreed)
        path, row = side.row(Ask("row", leaf, level), level, 4 * self._judge.width(leaf))
        self._hold(side, leaf, level, climbed(leaf, row_tree(row).root, path))
        return row

    def _read(self, read: Read) -> np.float64:
        """A number of a row on which both agree: the first side shows the chunk that it stands in."""
        side, level = self._sides[0], level_of(read.leaf, self._agreed)
        width = self._judge.width(read.leaf)
        chunk, within = divmod(read.element, CHUNK)
        up = level + depth_of(_chunks(width))
        path, data = side.row(
            Ask("row chunk", read.leaf, level, chunk), up, 4 * _length(width, chunk)
        )
        above, within_row = path[: level * DIGEST_BYTES], path[level * DIGEST_BYTES :]
        row = climbed(chunk, chunk_hash(data), within_row)
        self._hold(side, read.leaf, level, climbed(read.leaf, row, above))
        return np.float64(row_of(data)[within])

    def _hold(self, side: Side, leaf: int, level: int, digest: bytes) -> None:
        if digest != self._agreed[level, leaf >> level]:
            raise Lost(side.name, "showed a row that it did not commit to")

    def _decided(self, right: bytes, claims: Claims) -> Verdict:
        mine, theirs, own = (float(number_of(each)) for each in (*claims, right))
        reason = f"mine {mine!r}, theirs {theirs!r}, right {own!r}"
        for name, claim in zip(NAMES, claims, strict=True):
            if claim == right:
                return Verdict(name, reason, self._place, self._transcript)
        return Verdict("neither", reason, self._place, self._transcript)


def _chunks(width: int) -> int:
    return max(1, -(-width // CHUNK))


def _length(width: int, chunk: int) -> int:
    """Numbers in a chunk."""
    return min(CHUNK, width - chunk * CHUNK)
