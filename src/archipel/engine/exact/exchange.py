"""What two parties of a dispute are asked, and what they show: checked against what each committed to.

Parts: `Transcript`, `Side` (one party), `Lost`, `first_difference`. Law: an answer has exactly its length and
hashes to what was committed to, or it loses.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from archipel.engine.exact.hashing import (
    DIGEST_BYTES,
    NUMBER_BYTES,
    chunk_hash,
    climbed,
    depth_of,
    is_node,
    is_plain,
)
from archipel.engine.exact.parties import Ask, Party

Outcome = Literal["equal", "mine", "theirs", "neither"]
NAMES: tuple[Outcome, Outcome] = ("mine", "theirs")
TURN_BYTES = 1
"""Of an ask as it travels: in the search, left or right of where the one before led; later, what is next."""

Digests = tuple[bytes, bytes]
Agreed = dict[tuple[int, int], bytes]
"""(level, index) of a node of a tree -> its digest, which is the same for both."""


@dataclass
class Transcript:
    """What was exchanged."""

    asks: list[tuple[str, Ask]] = field(default_factory=list)
    """Whom, and what, in order."""
    digest_bytes: int = 0
    other_bytes: int = 0
    """In the search: asks, and numbers that were shown."""
    evidence_bytes: int = 0
    """Numbers for the judge, and the asks for them, beyond digests."""


class Lost(Exception):
    """One side did not show what it committed to."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}")
        self.right: Outcome = "theirs" if name == "mine" else "mine"


@dataclass
class Side:
    """One party, and what it said."""

    name: str
    party: Party
    transcript: Transcript

    def ask(self, ask: Ask, length: int) -> bytes:
        """An answer of exactly `length` bytes."""
        self.transcript.asks.append((self.name, ask))
        answer = self.party.answer(ask)
        if answer is None:
            raise Lost(self.name, f"did not answer ({ask.what})")
        if not isinstance(answer, bytes) or len(answer) != length:
            raise Lost(self.name, f"gave no {length} bytes ({ask.what})")
        return answer

    def halves(self, ask: Ask, digest: bytes) -> tuple[bytes, bytes]:
        """The children of a node that this side stands by."""
        answer = self.ask(ask, 2 * DIGEST_BYTES)
        self.transcript.digest_bytes += len(answer)
        self.transcript.other_bytes += TURN_BYTES
        if not is_node(digest, answer):
            raise Lost(self.name, f"showed halves that it did not commit to ({ask.what})")
        return answer[:DIGEST_BYTES], answer[DIGEST_BYTES:]

    def chunk(self, ask: Ask, digest: bytes, length: int) -> bytes:
        """The numbers of a leaf that this side stands by."""
        answer = self.ask(ask, length)
        self.transcript.other_bytes += len(answer) + TURN_BYTES
        if chunk_hash(answer) != digest:
            raise Lost(self.name, f"showed numbers that it did not commit to ({ask.what})")
        if ask.what == "chunk" and not is_plain(answer):
            raise Lost(self.name, "committed to numbers in another form than they have")
        return answer

    def working(self, ask: Ask, claim: bytes, num: int) -> bytes:
        """The root over `num` numbers of a working, which ends in what this side claimed."""
        depth = depth_of(num)
        path = self.ask(ask, depth * DIGEST_BYTES)
        self.transcript.digest_bytes += len(path)
        self.transcript.other_bytes += TURN_BYTES
        return climbed(num - 1, chunk_hash(claim), path)

    def row(self, ask: Ask, digests: int, width: int) -> tuple[bytes, bytes]:
        """A path of so many digests, and `width` bytes, not yet checked."""
        path = digests * DIGEST_BYTES
        answer = self.ask(ask, path + width)
        self.transcript.digest_bytes += path
        self.transcript.evidence_bytes += width + TURN_BYTES
        return answer[:path], answer[path:]

    def number(self, ask: Ask, agreed: Agreed) -> bytes:
        """A number of a working, on which both agree."""
        level = level_of(ask.index, agreed)
        path, data = self.row(replace(ask, level=level), level, NUMBER_BYTES)
        if climbed(ask.index, chunk_hash(data), path) != agreed[level, ask.index >> level]:
            raise Lost(self.name, "showed a number that it did not commit to")
        return data


def level_of(leaf: int, agreed: Agreed) -> int:
    """Of the node above a leaf on which both agreed."""
    return next(level for level in range(64) if (level, leaf >> level) in agreed)


def first_difference(
    sides: tuple[Side, Side], depth: int, digests: Digests, ask: Ask, agreed: Agreed
) -> tuple[int, Digests]:
    """The first leaf below a node on which the sides differ, and its two digests."""
    index = 0
    for level in range(depth, 0, -1):
        here = replace(ask, level=level, index=index)
        mine, theirs = (
            side.halves(here, digest) for side, digest in zip(sides, digests, strict=True)
        )
        index *= 2
        if mine[0] != theirs[0]:
            digests = (mine[0], theirs[0])
            continue
        agreed[level - 1, index] = mine[0]
        index += 1
        digests = (mine[1], theirs[1])
    return index, digests
