"""A ledger entry: an envelope as it arrived and when the lab received it, in canonical bytes."""

import json
from dataclasses import dataclass

from archipel.identity import BadSignature, Envelope, verify
from archipel.records.canonical import canonical_json, parse_canonical
from archipel.records.statements import (
    RECORD_TYPE,
    AnyStatement,
    Asking,
    InvalidRecord,
    Recorded,
    decode,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the lab's history."""

    at_ms: int
    envelope: Envelope
    statement: Recorded

    def to_bytes(self) -> bytes:
        """What the ledger's leaf hash is over."""
        return canonical_json({"at_ms": self.at_ms, "record": json.loads(self.envelope.to_json())})


def read_entry(data: bytes) -> Entry:
    """Parse an entry and verify its signature and author: a replay believes nothing unsigned.

    Raises:
        InvalidRecord: the entry or its record is malformed.
        BadEnvelope, BadSignature, BadDid: the envelope does not hold.
    """
    value = parse_canonical(data)
    if not isinstance(value, dict) or set(value) != {"at_ms", "record"}:
        raise InvalidRecord("a ledger entry has at_ms and record, nothing else")
    if type(value["at_ms"]) is not int:
        raise InvalidRecord(f"at_ms is {value['at_ms']!r:.30}, expected an integer")
    envelope = Envelope.from_json(canonical_json(value["record"]))
    statement = open_envelope(envelope)
    if isinstance(statement, Asking):
        raise InvalidRecord(f"{statement.kind} only asks; it has no place in a ledger")
    return Entry(value["at_ms"], envelope, statement)


def open_envelope(envelope: Envelope) -> AnyStatement:
    """The statement inside, once its signature holds and its author is the signer.

    Raises:
        InvalidRecord: malformed.
        BadEnvelope, BadSignature, BadDid: the signature does not hold, or is not the author's.
    """
    signer = verify(envelope, RECORD_TYPE)
    statement = decode(envelope.payload)
    if statement.author != signer:
        raise BadSignature(f"author is {statement.author}, but {signer} signed")
    return statement
