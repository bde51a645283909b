"""Planted work, as everybody reads it: answers that a run's own people gave to see who looks at them.

A decoy is a node like any other, with a key of its own. Beforehand an operator or a trusted role commits to whose key it
is, and to a secret that says which of its answers are wrong on purpose: by one bit of one log-probability in each
rollout, so nothing learns anything false from them. The decoy itself reveals the secret afterwards; then everybody can tell, of each of its
answers, what an auditor should have said. Law: pure; whoever has the record and the secret finds the same.
"""

import hashlib
import hmac
from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import Digest, RunName
from archipel.records.statement import Statement

SECRET_BYTES = 32
_COMMITTED = b"archipel.plant.v1\x00"
_PLANTED = b"planted\x00"
_PLACE = b"place\x00"

Secret = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[int, Field(ge=0, le=1000)]
"""Of a decoy's answers, in thousandths."""


class PlantsCommitted(Statement):
    """An operator or a trusted role has a decoy in this run: whose key it is, and which of its answers are wrong, stands fixed."""

    kind: Literal["plants.committed"] = "plants.committed"
    run: RunName
    digest: Digest
    """See `commitment`."""


class PlantsRevealed(Statement):
    """A decoy says that it was one: of its answers since the commitment, those that `is_planted` names were wrong on
    purpose, and all others right.
    """

    kind: Literal["plants.revealed"] = "plants.revealed"
    run: RunName
    secret: Secret
    share_milli: Share


def commitment(run: str, did: str, secret: str, share_milli: int) -> Digest:
    """SHA-256 over the domain, the secret's 32 bytes, the share (4 bytes, big-endian), and `run did`."""
    words = f"{run} {did}".encode()
    raw = _COMMITTED + bytes.fromhex(secret) + share_milli.to_bytes(4, "big") + words
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def is_planted(secret: str, work: str, share_milli: int) -> bool:
    """Whether the answer to this work is wrong on purpose: by the first 8 bytes of an HMAC-SHA256 of its name."""
    return _number(secret, _PLANTED + work.encode()) * 1000 < share_milli << 64


def place_of(secret: str, work: str, rollout: int, num_sampled: int) -> int:
    """Which of a rollout's sampled tokens has the wrong log-probability, where the answer is planted.

    rollout: its place among all rollouts of the answer.
    """
    return _number(secret, _PLACE + f"{work} {rollout}".encode()) * num_sampled >> 64


def _number(secret: str, what: bytes) -> int:
    return int.from_bytes(hmac.digest(bytes.fromhex(secret), what, "sha256")[:8], "big")
