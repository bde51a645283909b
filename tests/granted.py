"""A pool in the tests: who verifies, whose door charges, and what they sign."""

from typing import Any

from archipel.identity import Identity
from archipel.market.attesting import person_tag, signed
from archipel.records.grants import Attestation, Permit
from archipel.records.membership import Signed
from people import identity

VERIFIER, DOOR = identity("verifier"), identity("door")
TAG_KEY = b"k" * 32
DAY_MS = 86_400_000
RULE: dict[str, Any] = {
    "verifiers": (VERIFIER.did,),
    "doors": (DOOR.did,),
    "person_micro": 1000,
    "grant_micro": 5000,
    "verifier_micro": 20_000,
    "month_micro": 30_000,
    "lasts_ms": 10 * DAY_MS,
}


def rule(**more: Any) -> dict[str, Any]:
    """Fields of `PoolRuled`."""
    return RULE | more


def attested(
    lab: str, subject: str, person: str, now_ms: int, by: Identity = VERIFIER, **more: Any
) -> Signed:
    fields: dict[str, Any] = {
        "lab": lab,
        "verifier": by.did,
        "subject": subject,
        "person": person_tag(TAG_KEY, person),
        "issued_ms": now_ms,
        "until_ms": now_ms + 300 * DAY_MS,
    }
    return signed(by, Attestation(**(fields | more)))


def permitted(lab: str, grantee: Identity, until_ms: int, **more: Any) -> Signed:
    fields: dict[str, Any] = {
        "lab": lab,
        "grantee": grantee.did,
        "door": DOOR.did,
        "name": "2e" * 8,
        "micro": 10_000,
        "until_ms": until_ms,
    }
    return signed(grantee, Permit(**(fields | more)))
