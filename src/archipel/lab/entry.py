"""A ledger entry: an envelope as it arrived and when the lab received it, in canonical bytes."""

import re
from dataclasses import dataclass

from archipel.identity import BadSignature, Envelope, verify
from archipel.ledger.taken_over import BadSuccession, check_taken_over
from archipel.market.receipts import BadReceipt, opened
from archipel.records.canonical import MAX_SAFE_INTEGER
from archipel.records.grants import (
    ATTESTATION_TYPE,
    PERMIT_TYPE,
    Attestation,
    GrantCharged,
    GrantRequested,
    Permit,
)
from archipel.records.membership import (
    DELEGATION_TYPE,
    INVITATION_TYPE,
    Delegation,
    Invitation,
    NotSigned,
    Signed,
    read_signed,
)
from archipel.records.ownership import RevenueEntered
from archipel.records.statements import (
    RECORD_TYPE,
    AnyStatement,
    Asking,
    InvalidRecord,
    NodeJoined,
    NotTheAuthor,
    Recorded,
    decode_again,
    decode_said,
)
from archipel.records.succession import LabSucceeded

_ENTRY = re.compile(rb'\{"at_ms":(0|-?[1-9][0-9]{0,15}),"record":(\{.*\})\}', re.DOTALL)
"""Canonical if its record is, which `Envelope.from_json` sees to."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the lab's history."""

    at_ms: int
    envelope: Envelope
    statement: Recorded

    def to_bytes(self) -> bytes:
        """What the ledger's leaf hash is over."""
        return b'{"at_ms":%d,"record":%b}' % (self.at_ms, self.envelope.to_json())


def read_entry(data: bytes) -> Entry:
    """Parse an entry and verify its signature and author: a replay believes nothing unsigned.

    Raises:
        InvalidRecord: the entry or its record is malformed.
        BadEnvelope, BadSignature, BadDid: the envelope does not hold.
    """
    at_ms, envelope = _parts(data)
    statement = open_envelope(envelope)
    if isinstance(statement, Asking):
        raise InvalidRecord(f"{statement.kind} only asks; it has no place in a ledger")
    return Entry(at_ms, envelope, statement)


def read_examined(data: bytes) -> Entry:
    """An entry that `read_entry` has read before, in another process of ours: it is not verified again."""
    at_ms, envelope = _parts(data)
    statement = decode_again(envelope.payload)
    if isinstance(statement, Asking):
        raise InvalidRecord(f"{statement.kind} only asks; it has no place in a ledger")
    return Entry(at_ms, envelope, statement)


def open_envelope(envelope: Envelope) -> AnyStatement:
    """The statement inside, once its signature holds and its author is the signer.

    Raises:
        InvalidRecord: malformed.
        BadEnvelope, BadSignature, BadDid: the signature does not hold, or is not the author's.
    """
    signer = verify(envelope, RECORD_TYPE)
    try:
        statement = decode_said(envelope.payload, signer)
    except NotTheAuthor as error:
        raise BadSignature(str(error)) from None
    if isinstance(statement, NodeJoined):
        _check_presented(statement)
    if isinstance(statement, RevenueEntered):
        _check_receipt(statement)
    if isinstance(statement, GrantRequested | GrantCharged):
        _check_granting(statement)
    if isinstance(statement, LabSucceeded):
        _check_succession(statement)
    return statement


def _check_receipt(said: RevenueEntered) -> None:
    """The receipt is its meter's."""
    try:
        opened(said.receipt)
    except BadReceipt as error:
        raise InvalidRecord(str(error)) from None


def _check_presented(joined: NodeJoined) -> None:
    """What a node presents of others is signed by them."""
    try:
        if joined.delegation is not None:
            operator = read_signed(Delegation, joined.delegation).operator
            verify(_enveloped(joined.delegation, DELEGATION_TYPE, operator), DELEGATION_TYPE)
        if joined.invitation is not None:
            host = read_signed(Invitation, joined.invitation).by
            verify(_enveloped(joined.invitation, INVITATION_TYPE, host), INVITATION_TYPE)
    except NotSigned as error:
        raise InvalidRecord(str(error)) from None


def _check_granting(said: GrantRequested | GrantCharged) -> None:
    """An attestation is its verifier's, a permit its grantee's."""
    try:
        if isinstance(said, GrantRequested):
            verifier = read_signed(Attestation, said.attestation).verifier
            verify(_enveloped(said.attestation, ATTESTATION_TYPE, verifier), ATTESTATION_TYPE)
        else:
            grantee = read_signed(Permit, said.permit).grantee
            verify(_enveloped(said.permit, PERMIT_TYPE, grantee), PERMIT_TYPE)
    except NotSigned as error:
        raise InvalidRecord(str(error)) from None


def _check_succession(said: LabSucceeded) -> None:
    """The head is the predecessor's, the agreements are their signers'."""
    try:
        check_taken_over(said)
    except BadSuccession as error:
        raise InvalidRecord(str(error)) from None


def _enveloped(signed: Signed, kind: str, signer: str) -> Envelope:
    return Envelope(signed.payload.encode(), kind, signer, bytes.fromhex(signed.signature))


def _parts(data: bytes) -> tuple[int, Envelope]:
    """When it was received, and the envelope, unverified."""
    parts = _ENTRY.fullmatch(data)
    if parts is None:
        raise InvalidRecord(
            f"{data[:40]!r} does not begin a ledger entry: the canonical JSON of an integer at_ms, a "
            "record and nothing else"
        )
    at_ms = int(parts[1])
    if abs(at_ms) > MAX_SAFE_INTEGER:
        raise InvalidRecord(f"at_ms is {at_ms}, beyond +-(2^53 - 1)")
    return at_ms, Envelope.from_json(parts[2])
