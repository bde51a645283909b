"""An operator's word that a key of model signing signs for one release: it ties P-256 to the ledger's Ed25519 names.

Law: bound to the release's index by digest, so that the word for one release is none for another.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from archipel.identity import Envelope, Identity, sign, verify
from archipel.records.canonical import canonical_json, parse_canonical, sha256_digest
from archipel.records.fields import Closed, Digest

VOUCHER_TYPE: Final = "application/vnd.archipel.release-key+json"


class Voucher(Closed):
    """What is signed."""

    form: Literal[1] = 1
    index: Digest
    """Of release.json."""
    hint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the public PEM of the key that signs the release."""


def vouch(operator: Identity, index: bytes, hint: str) -> bytes:
    """An envelope in which `operator` says that the key `hint` signs the release with this release.json."""
    said = Voucher(index=sha256_digest(index), hint=hint)
    return sign(operator, canonical_json(said.model_dump()), VOUCHER_TYPE).to_json()


def vouched_by(data: bytes, index: bytes, hint: str) -> str:
    """The did:key of whoever vouches for the key `hint` and this release.json.

    1. A voucher's envelope. 2. Its signature. 3. It is of this index and of this key.

    Raises:
        ValueError: any of these fails (IdentityError, NotCanonical and ValidationError are ValueErrors).
    """
    envelope = Envelope.from_json(data)
    did = verify(envelope, VOUCHER_TYPE)
    parse_canonical(envelope.payload)
    said = Voucher.model_validate_json(envelope.payload)
    if said.index != sha256_digest(index):
        raise ValueError(f"{did} vouches for another release, whose index is {said.index}")
    if said.hint != hint:
        raise ValueError(f"{did} vouches for the key {said.hint}; this release is signed by {hint}")
    return did
