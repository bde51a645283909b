"""What is said of turns to a lab, signed, and what is believed of its answers: whose words these are."""

from typing import Any, TypeVar

from archipel.identity import Envelope, IdentityError, sign, verify
from archipel.node.client import LabClient
from archipel.node.lease import read_parcel
from archipel.node.sealed import NotBelieved
from archipel.records.document import BadDocument
from archipel.records.turns import (
    TURN_TYPE,
    BadTurns,
    Question,
    TurnsAnswer,
    TurnsAsked,
    TurnsAwaited,
    TurnsTold,
    decode_word,
    encode_word,
)

W = TypeVar("W", TurnsAsked, TurnsAwaited, TurnsTold)
D = TypeVar("D", TurnsAnswer, Question)


def spoken(client: LabClient, kind: type[W], **fields: Any) -> bytes:
    """A word in its envelope, by this client's key."""
    word = kind(lab=client.lab, author=client.identity.did, seq=client.numbers.next(), **fields)
    return sign(client.identity, encode_word(word), TURN_TYPE).to_json()


def heard(sealed: str, kind: type[W], lab: str) -> W:
    """A word of somebody's. Raises NotBelieved: not signed, of another kind or for another lab."""
    try:
        envelope = Envelope.from_json(sealed.encode())
        word = decode_word(envelope.payload, verify(envelope, TURN_TYPE))
    except (IdentityError, BadTurns, UnicodeEncodeError) as error:
        raise NotBelieved("bad-turns", str(error)) from None
    if not isinstance(word, kind):
        raise NotBelieved("bad-turns", f"it is a {word.kind}")
    if word.lab != lab:
        raise NotBelieved("bad-turns", f"it is for lab {word.lab}, this is {lab}")
    return word


def document_of(kind: type[D], data: bytes) -> tuple[D, bytes]:
    """A lab's document, and the bytes beside it. Raises NotBelieved: it is none."""
    try:
        document, blobs = read_parcel(kind, data)
    except BadDocument as error:
        raise NotBelieved("bad-turns", f"no {kind.__name__}: {error}") from None
    if len(blobs) > 1:
        raise NotBelieved("bad-turns", f"{len(blobs)} blobs came beside one {kind.__name__}")
    return document, blobs[0] if blobs else b""
