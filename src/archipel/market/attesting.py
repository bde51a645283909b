"""Attestations and permits as their signers make them, and the tag by which a verifier tells a person without naming it.

Law: a tag says nothing of who it is without the verifier's key, and is the same for one person whatever key it asks with.
"""

import hashlib
import hmac
import unicodedata

from archipel.identity import Identity, sign
from archipel.records.canonical import canonical_json
from archipel.records.grants import ATTESTATION_TYPE, PERMIT_TYPE, Attestation, Permit
from archipel.records.membership import Signed

_DOMAIN = b"archipel.person.v1\x00"
TAG_KEY_BYTES = 32


def signed(by: Identity, said: Attestation | Permit) -> Signed:
    """As it travels. `by`: its verifier, or its grantee."""
    kind = ATTESTATION_TYPE if isinstance(said, Attestation) else PERMIT_TYPE
    envelope = sign(by, canonical_json(said.model_dump(mode="json")), kind)
    return Signed(payload=envelope.payload.decode(), signature=envelope.signature.hex())


def person_tag(key: bytes, person: str) -> str:
    """64 hexadecimal digits: HMAC-SHA-256 of what the verifier knows the person by, without regard to case, spaces at
    the ends and ways to write one letter (NFKC).

    key: `TAG_KEY_BYTES` random bytes that the verifier keeps, and shares with verifiers whose persons may be the same.
    """
    if len(key) != TAG_KEY_BYTES:
        raise ValueError(f"a tag key of {len(key)} bytes; expected {TAG_KEY_BYTES}")
    known = unicodedata.normalize("NFKC", person).casefold().strip()
    return hmac.new(key, _DOMAIN + known.encode(), hashlib.sha256).hexdigest()
