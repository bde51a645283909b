"""Who may take part, in words: an operator's delegation to a node's key, a lab's invitation, its rule for joining.

A delegation and an invitation are signed by somebody else than who presents them, so they travel as the exact bytes
that were signed. Law: pure; whether a signature holds is looked at where an envelope is opened.
"""

import hashlib
from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import Field, ValidationError

from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical
from archipel.records.fields import (
    Closed,
    Count,
    Did,
    Digest,
    LeftOut,
    Millis,
    Reason,
    Sparing,
)
from archipel.records.statement import Statement

DELEGATION_TYPE = "application/vnd.archipel.delegation.v1+json"
INVITATION_TYPE = "application/vnd.archipel.invitation.v1+json"
"""DSSE payload types of what is signed by another than who presents it."""
MAX_SIGNED_CHARACTERS = 1000
MAX_KEYS_PER_OPERATOR = 1024
"""Keys of one operator that a lab remembers, revoked ones among them."""
MAX_ALLOWED = 512
MAX_USES = 10_000
MAX_EFFORT_BITS = 28
"""Of a joiner's work: 2^28 hashes, some minutes of one processor core."""
_EFFORT_DOMAIN = b"archipel.joining.v1\x00"

Nonce = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Places = Annotated[int, Field(ge=1, le=MAX_KEYS_PER_OPERATOR)]
Policy = Literal["open", "listed", "invited"]
"""Who may join that is new here: anybody; who is on the lab's list; who is on it or holds an invitation."""


class NotSigned(ValueError):
    """Words in a delegation's or invitation's place that are none; the message says what is wrong."""


class Signed(Closed):
    """The exact bytes that somebody signed (canonical JSON), and the signature."""

    payload: Annotated[str, Field(max_length=MAX_SIGNED_CHARACTERS)]
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]
    """Ed25519, over DSSE's encoding (PAE) of payload type and payload."""


class Delegation(Sparing):
    """An operator says that a node's key speaks for it: what that node earns, risks and is known for is the operator's."""

    operator: Did
    """Whose key signs it."""
    node: Did
    issued_ms: Millis
    """Of two delegations to one key the later one counts."""
    until_ms: Annotated[Millis | None, LeftOut] = None
    """Unix time from which on it holds no more; None: until it is revoked."""
    lab: Annotated[Did | None, LeftOut] = None
    """The only lab it is for; None: any."""
    replaces: Annotated[Did | None, LeftOut] = None
    """The operator's key that this one comes for, which is revoked with it."""


class Invitation(Closed):
    """A lab lets in so many that are new to it."""

    lab: Did
    by: Did
    """Whose key signs it: the lab's own, or one of its operators'."""
    name: Nonce
    uses: Annotated[int, Field(ge=1, le=MAX_USES)]
    until_ms: Millis


class Effort(Closed):
    """Work that a newcomer did for this lab alone, over a head that it could not know long before."""

    size: Count
    """Of the lab's signed tree head."""
    root: Digest
    nonce: Nonce


class JoiningRuled(Statement):
    """An operator of the lab says who may join from now on; who is known there stays."""

    kind: Literal["joining.ruled"] = "joining.ruled"
    policy: Policy
    allowed: Annotated[tuple[Did, ...], Field(max_length=MAX_ALLOWED)]
    """Keys of nodes, and of operators whose nodes may all come."""
    effort_bits: Annotated[int, Field(ge=0, le=MAX_EFFORT_BITS)]
    """Leading zero bits of a newcomer's effort; 0: none is asked for."""
    places: Places
    """Nodes of one operator that may be here at the same time."""


class KeyRevoked(Statement):
    """An operator says that a key no longer speaks for it; what it holds returns to the pool."""

    kind: Literal["key.revoked"] = "key.revoked"
    node: Did
    reason: Reason


class NodePaused(Statement):
    """A node's operator, or the node where it has none, says that it is given no work from now on; what it holds may
    still be answered, and is paid.
    """

    kind: Literal["node.paused"] = "node.paused"
    node: Did
    reason: Reason


class NodeResumed(Statement):
    """The same says that it may be given work again."""

    kind: Literal["node.resumed"] = "node.resumed"
    node: Did


TakingPart: TypeAlias = JoiningRuled | KeyRevoked | NodePaused | NodeResumed
"""What may stand in a ledger of who takes part, besides what nodes say of themselves."""


S = TypeVar("S", bound=Closed)


def read_signed(kind: type[S], signed: Signed) -> S:
    """What was signed; the signature itself is not looked at here.

    Raises:
        NotSigned: it is none of this kind.
    """
    data = signed.payload.encode()
    try:
        parse_canonical(data)
        return kind.model_validate_json(data)
    except NotCanonical as error:
        raise NotSigned(f"{kind.__name__.lower()}: {error}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "record"
        raise NotSigned(f"{kind.__name__.lower()}: {where}: {fault['msg']}") from None


def signed_from(data: bytes) -> Signed:
    """What a file holds that somebody signed. Raises NotSigned: it is none."""
    try:
        return Signed.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise NotSigned(f"expected a payload and a signature: {fault['msg']}") from None


def payload_of(said: Delegation | Invitation) -> str:
    """The canonical text that is signed."""
    return canonical_json(said.model_dump(mode="json")).decode()


def effort_bits(lab: str, key: str, effort: Effort) -> int:
    """Leading zero bits of SHA-256 over lab, key, head and nonce: how hard this was to find, as a power of two."""
    return _zero_bits(effort_prefix(lab, key, effort.root), effort.nonce)


def effort_prefix(lab: str, key: str, root: str) -> bytes:
    """What is hashed before the nonce."""
    return _EFFORT_DOMAIN + f"{lab} {key} {root} ".encode()


def find_nonce(prefix: bytes, bits: int, first: int, tries: int) -> str | None:
    """A nonce whose effort has so many leading zero bits, among `tries` from `first` on; None: none of these."""
    begun, below = hashlib.sha256(prefix), 1 << (256 - bits)
    for number in range(first, first + tries):
        hasher = begun.copy()
        nonce = f"{number:016x}"
        hasher.update(nonce.encode())
        if int.from_bytes(hasher.digest(), "big") < below:
            return nonce
    return None


def _zero_bits(prefix: bytes, nonce: str) -> int:
    digest = hashlib.sha256(prefix + nonce.encode()).digest()
    return 256 - int.from_bytes(digest, "big").bit_length()
