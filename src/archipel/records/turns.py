"""Turns asked through the lab: what nodes and the trusted role say to each other while an episode is played.

Parts: `TurnsAsked` (a node), `TurnsAwaited` and `TurnsTold` (the trusted role), each signed; `Said` and `Reply`, lists
of which are bytes beside them; `seal_of`, what the trusted role signs of each reply; `Question` and `TurnsAnswer`, the
lab's documents. None of it is ever in a ledger. Laws: pure; a seal covers the whole episode up to its reply, so the
last one is enough; every count and length has a bound before anything is looked at.
"""

import hashlib
import sys
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical
from archipel.records.document import Document
from archipel.records.documents import Sealed
from archipel.records.episodes import MAX_TURNS
from archipel.records.fields import (
    BlobRef,
    Closed,
    Did,
    Digest,
    Fault,
    GroupIndex,
    LeftOut,
    Reason,
    Sparing,
    TokenId,
    WorkId,
)
from archipel.records.parcel import SMALL_BLOB_BYTES
from archipel.records.statement import Seq

TURN_TYPE = "application/vnd.archipel.turn.v1+json"
"""DSSE payload type of these statements: none of them can be taken for a record."""
SEAL_TYPE = "application/vnd.archipel.seal.v1+json"
SEAL_BYTES = 64
NO_SEAL = bytes(SEAL_BYTES)
"""Of an episode that needed no reply: its first turn did not end."""
MAX_TURNS_AT_ONCE = 16_384
MAX_TURN_BYTES = SMALL_BLOB_BYTES
"""What is said, or told, at once."""

RolloutNumber = Annotated[int, Field(ge=0, lt=1024)]
TurnNumber = Annotated[int, Field(ge=0, lt=MAX_TURNS)]
Tokens = Annotated[tuple[TokenId, ...], Field(max_length=2**20)]
T = TypeVar("T")
Seal = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


class BadTurns(ValueError):
    """Bytes that are no words about turns."""


class Said(Closed):
    """A turn of the model, as whoever plays sampled it."""

    group: GroupIndex
    rollout: RolloutNumber
    """Of the group."""
    turn: TurnNumber
    """From 0; the earlier ones were told before."""
    tokens: Annotated[Tokens, Field(min_length=1)]
    """With the stop token that ended it."""


class Reply(Sparing):
    """What follows a turn."""

    group: GroupIndex
    rollout: RolloutNumber
    turn: TurnNumber
    answer: Tokens
    """The environment's; empty where the episode ends."""
    is_over: bool
    """The environment said that it is; else it goes on, or was cut off."""
    seal: Seal
    retells: Annotated[Literal[True] | None, LeftOut] = None
    """The answer is all of the conversation, as the prompt of a new sample; None: it goes on from what is there."""


class _Word(Closed):
    lab: Did
    author: Did
    seq: Seq
    """Microseconds by the lab's clock, greater than any that the author used before."""


class TurnsAsked(_Word):
    """A node asks what follows turns of a lease that it holds."""

    kind: Literal["turns.asked"] = "turns.asked"
    work: WorkId
    said: BlobRef
    """A list of `Said`."""


class TurnsAwaited(_Word):
    """A trusted role asks for questions."""

    kind: Literal["turns.awaited"] = "turns.awaited"
    """A newer one ends the wait of an older one, and says that nothing is in hand any more."""


class TurnsTold(_Word, Sparing):
    """A trusted role answers a question, or says why it does not."""

    kind: Literal["turns.told"] = "turns.told"
    work: WorkId
    asked: Digest
    """Of what was said."""
    told: Annotated[BlobRef | None, LeftOut] = None
    """A list of `Reply`, in the order of the question."""
    reason: Annotated[Reason | None, LeftOut] = None
    fault: Annotated[Fault | None, LeftOut] = None
    """Whose fault it is that there is no reply."""


class Question(Document):
    """What a lab hands to a trusted role; what was said comes beside it."""

    asked: Sealed
    grant: Sealed
    """`lease.granted`: whose lease it is, and of which groups."""
    opening: Sealed


class TurnsAnswer(Document):
    """What a lab answers a node that asks; what was told comes beside it."""

    told: Sealed | None = None
    """None: nothing yet; ask again."""
    silent_s: Annotated[float | None, Field(ge=0)] = None
    """Since a trusted role of the run asked for questions last; None: it never did."""


TurnWord = TurnsAsked | TurnsAwaited | TurnsTold
_WORD: TypeAdapter[TurnWord] = TypeAdapter(Annotated[TurnWord, Field(discriminator="kind")])
_SAID: TypeAdapter[tuple[Said, ...]] = TypeAdapter(
    Annotated[tuple[Said, ...], Field(min_length=1, max_length=MAX_TURNS_AT_ONCE)]
)
_REPLIES: TypeAdapter[tuple[Reply, ...]] = TypeAdapter(
    Annotated[tuple[Reply, ...], Field(min_length=1, max_length=MAX_TURNS_AT_ONCE)]
)


def encode_word(word: TurnWord) -> bytes:
    """Canonical bytes, the ones that are signed."""
    return canonical_json(word.model_dump(mode="json"))


def decode_word(data: bytes, signer: str) -> TurnWord:
    """A statement that `signer` has signed.

    Raises:
        BadTurns: it is none, or speaks for somebody else.
    """
    try:
        parse_canonical(data)
        word = _WORD.validate_json(data)
    except (NotCanonical, ValidationError) as error:
        raise BadTurns(f"no words about turns: {_first(error)}") from None
    if word.author != signer:
        raise BadTurns(f"author is {word.author}, but {signer} signed")
    return word


def pack_said(said: Sequence[Said]) -> bytes:
    """Bytes of what is said at once."""
    return _SAID.dump_json(tuple(said))


def unpack_said(data: bytes) -> tuple[Said, ...]:
    """What `pack_said` wrote. Raises BadTurns."""
    return _unpacked(_SAID, data)


def pack_replies(replies: Sequence[Reply]) -> bytes:
    """Bytes of what is told at once."""
    return _REPLIES.dump_json(tuple(replies))


def unpack_replies(data: bytes) -> tuple[Reply, ...]:
    """What `pack_replies` wrote. Raises BadTurns."""
    return _unpacked(_REPLIES, data)


def digest_so_far(tokens: Sequence[int], sampled: bytes) -> str:
    """Of an episode up to the end of a turn: its tokens, 32 bits each, and their mask."""
    flat = array("i", tokens)
    if sys.byteorder == "big":
        flat.byteswap()
    return hashlib.sha256(flat.tobytes() + sampled).hexdigest()


@dataclass(frozen=True, slots=True)
class Place:
    """Which episode: the group may be sampled again for another work, and that is another episode."""

    lab: str
    run: str
    work: str
    group: int
    rollout: int
    task: int | None = None
    """What the group plays, where tasks are chosen; None: the one of its number."""


def seal_of(
    place: Place, tokens: Sequence[int], sampled: bytes, end: int, *, is_over: bool
) -> bytes:
    """What the seal of an episode's last reply is the signature of (DSSE pre-authentication encoding).

    tokens, sampled: of the episode up to and with the reply. end: of the turn that is answered: what follows it
    is the answer.
    """
    payload = canonical_json(
        {
            **{name: value for name, value in asdict(place).items() if value is not None},
            "heard": digest_so_far(tokens[:end], sampled[:end]),
            "answer": digest_so_far(tokens[end:], sampled[end:]),
            "is_over": is_over,
        }
    )
    kind = SEAL_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _unpacked(adapter: TypeAdapter[T], data: bytes) -> T:
    if len(data) > MAX_TURN_BYTES:
        raise BadTurns(f"{len(data)} bytes of turns; at most {MAX_TURN_BYTES} go at once")
    try:
        return adapter.validate_json(data)
    except (ValidationError, RecursionError) as error:
        raise BadTurns(f"no turns: {_first(error)}") from None


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error) or type(error).__name__
    fault = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in fault['loc']) or 'turns'}: {fault['msg']}"
