"""Two parties who computed one rollout differently: where, and who is right. docs/reference/exact-disputes.md.

1 the halves of the tree over all rows, down to the first row in which they differ  2 the halves of that
row, down to one chunk  3 the chunk: one number  4 the rows that it is computed from, on which both agree
5 the judge computes that number again. Law: pure; whoever refuses, or shows what it did not commit to,
has lost at once. Shown is who is wrong in that number; not that the other is right in what comes after.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from archipel.engine.exact.hashing import (
    CHUNK,
    DIGEST_BYTES,
    EMPTY,
    chunk_hash,
    climbed,
    depth_of,
    is_node,
    row_bytes,
    row_of,
    row_tree,
)
from archipel.engine.exact.judge import Judge
from archipel.engine.exact.parties import Ask, Party
from archipel.engine.exact.trace import BadQuestion

Outcome = Literal["equal", "mine", "theirs", "neither"]
NAMES: tuple[Outcome, Outcome] = ("mine", "theirs")
TURN_BYTES = 1
"""Of an ask in the search as it travels: left or right of where the one before led."""
PLACE_BYTES = 8
"""Of an ask for a row: which one."""


@dataclass
class Transcript:
    """What was exchanged."""

    asks: list[tuple[str, Ask]] = field(default_factory=list)
    """Whom, and what, in order."""
    digest_bytes: int = 0
    other_bytes: int = 0
    """In the search: asks, and numbers that were shown."""
    evidence_bytes: int = 0
    """Rows for the judge, beyond digests."""


@dataclass(frozen=True)
class Place:
    """One number of a rollout's computation."""

    position: int
    step: str
    element: int

    def __str__(self) -> str:
        return f"position {self.position}, {self.step}, number {self.element}"


@dataclass(frozen=True)
class Verdict:
    """How a dispute ended."""

    right: Outcome
    """Who is; "equal": there is no dispute."""
    reason: str
    place: Place | None
    transcript: Transcript


class _Lost(Exception):
    """One side did not show what it committed to."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}")
        self.right: Outcome = "theirs" if name == "mine" else "mine"


@dataclass
class _Side:
    name: str
    party: Party
    transcript: Transcript

    def ask(self, ask: Ask, length: int) -> bytes:
        """An answer of exactly `length` bytes."""
        self.transcript.asks.append((self.name, ask))
        answer = self.party.answer(ask)
        if answer is None:
            raise _Lost(self.name, f"did not answer ({ask.what})")
        if not isinstance(answer, bytes) or len(answer) != length:
            raise _Lost(self.name, f"gave no {length} bytes ({ask.what})")
        return answer

    def halves(self, ask: Ask, digest: bytes) -> tuple[bytes, bytes]:
        """The children of a node that this side stands by."""
        answer = self.ask(ask, 2 * DIGEST_BYTES)
        self.transcript.digest_bytes += len(answer)
        self.transcript.other_bytes += TURN_BYTES
        if not is_node(digest, answer):
            raise _Lost(self.name, f"showed halves that it did not commit to ({ask.what})")
        return answer[:DIGEST_BYTES], answer[DIGEST_BYTES:]

    def chunk(self, ask: Ask, digest: bytes, length: int) -> bytes:
        """The numbers of a chunk that this side stands by."""
        answer = self.ask(ask, length)
        self.transcript.other_bytes += len(answer) + TURN_BYTES
        if chunk_hash(answer) != digest:
            raise _Lost(self.name, "showed numbers that it did not commit to")
        return answer


Digests = tuple[bytes, bytes]
Agreed = dict[tuple[int, int], bytes]
"""(level, index) of a node of the tree over all rows -> its digest, which is the same for both."""


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
    sides = (_Side("mine", mine, transcript), _Side("theirs", theirs, transcript))
    return _Dispute(sides, judge, transcript).settle()


class _Dispute:
    def __init__(self, sides: tuple[_Side, _Side], judge: Judge, transcript: Transcript) -> None:
        self._sides, self._judge, self._transcript = sides, judge, transcript
        self._place: Place | None = None

    def settle(self) -> Verdict:
        """All steps; numbers as above."""
        try:
            # 1
            agreed: Agreed = {}
            depth = depth_of(self._judge.num_leaves)
            roots = (self._sides[0].party.root, self._sides[1].party.root)
            leaf, digests = self._first_difference(depth, roots, Ask("children"), agreed)
            self._none_beyond(leaf < self._judge.num_leaves, digests)
            position, step = self._judge.at(leaf)
            self._place = Place(position, str(step), 0)
            # 2
            width = self._judge.width(leaf)
            chunks = max(1, -(-width // CHUNK))
            ask = Ask("row children", leaf)
            chunk, digests = self._first_difference(depth_of(chunks), digests, ask, {})
            self._none_beyond(chunk < chunks, digests)
            # 3
            length = 4 * min(CHUNK, width - chunk * CHUNK)
            claims = [
                row_of(side.chunk(Ask("chunk", leaf, 0, chunk), digest, length)).view(np.uint32)
                for side, digest in zip(self._sides, digests, strict=True)
            ]
            within = int((claims[0] != claims[1]).argmax())
            element = chunk * CHUNK + within
            self._place = Place(position, str(step), element)
            # 4
            rows = [row_of(self._opened(need, agreed)) for need in self._judge.needs(leaf)]
        except _Lost as lost:
            return Verdict(lost.right, str(lost), self._place, self._transcript)
        # 5
        right = row_bytes(np.array([self._judge.value(leaf, element, rows)]))
        told = [claim[within : within + 1].astype("<u4").tobytes() for claim in claims]
        return self._decided(right, told)

    def _first_difference(
        self, depth: int, digests: Digests, ask: Ask, agreed: Agreed
    ) -> tuple[int, Digests]:
        """The first leaf below a node on which the sides differ, and its two digests."""
        index = 0
        for level in range(depth, 0, -1):
            here = Ask(ask.what, ask.leaf, level, index)
            mine, theirs = (
                side.halves(here, digest) for side, digest in zip(self._sides, digests, strict=True)
            )
            index *= 2
            if mine[0] != theirs[0]:
                digests = (mine[0], theirs[0])
                continue
            agreed[level - 1, index] = mine[0]
            index += 1
            digests = (mine[1], theirs[1])
        return index, digests

    def _none_beyond(self, exists: bool, digests: Digests) -> None:
        """Where nothing was to be committed to, whoever did has lost."""
        if not exists:
            for side, digest in zip(self._sides, digests, strict=True):
                if digest != EMPTY:
                    raise _Lost(side.name, "committed to more than there is")

    def _opened(self, leaf: int, agreed: Agreed) -> bytes:
        """A row on which both agree, as the first side shows it."""
        side = self._sides[0]
        level = next(level for level in range(64) if (level, leaf >> level) in agreed)
        width, path = 4 * self._judge.width(leaf), level * DIGEST_BYTES
        answer = side.ask(Ask("row", leaf, level), path + width)
        self._transcript.digest_bytes += path
        self._transcript.evidence_bytes += width + PLACE_BYTES
        row = answer[path:]
        if climbed(leaf, row_tree(row).root, answer[:path]) != agreed[level, leaf >> level]:
            raise _Lost(side.name, "showed a row that it did not commit to")
        return row

    def _decided(self, right: bytes, told: list[bytes]) -> Verdict:
        values = [float(row_of(each)[0]) for each in (*told, right)]
        reason = f"mine {values[0]!r}, theirs {values[1]!r}, right {values[2]!r}"
        for name, claim in zip(NAMES, told, strict=True):
            if claim == right:
                return Verdict(name, reason, self._place, self._transcript)
        return Verdict("neither", reason, self._place, self._transcript)
