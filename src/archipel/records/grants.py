"""The pool and its grants, in words: who fills the pool, by which rule it gives, who may charge what was given (0098).

A grant is credits that can be spent at a door and nowhere else: they are nobody's wallet, and nobody's to pay out.
What verifiers and grantees sign beforehand travels as the exact bytes that they signed. Law: an attestation names a
person by a tag alone, a keyed digest that tells nobody who that is.
"""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from archipel.records.fields import Closed, Count, Did, Millis, Reason
from archipel.records.membership import Nonce, Signed
from archipel.records.stakes import MAX_MOVED_MICRO, Micro
from archipel.records.statement import Statement

ATTESTATION_TYPE = "application/vnd.archipel.attestation.v1+json"
PERMIT_TYPE = "application/vnd.archipel.permit.v1+json"
"""DSSE payload types of what verifiers and grantees sign."""
MAX_VERIFIERS = 64
MAX_GRANT_DOORS = 64
MILLION = 1_000_000
MAX_GRANT_MS = 400 * 86_400_000
"""No grant and no permit lasts longer."""
_Lasting = Annotated[int, Field(ge=60_000, le=MAX_GRANT_MS)]


class Attestation(Closed):
    """A verifier says that a key is a person's, and which person's, without saying who."""

    lab: Did
    verifier: Did
    """Whose key signs it."""
    subject: Did
    """The person's key."""
    person: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """HMAC-SHA-256 of whatever the verifier knows the person by, under a key of the verifier's: the same for every key of
    one person, and nobody else can tell whose it is. Verifiers that share the key know a person of the others again."""
    issued_ms: Millis
    until_ms: Millis


class Permit(Closed):
    """A grantee lets a door charge what was granted to it: so much, until then."""

    lab: Did
    grantee: Did
    """Whose key signs it."""
    door: Did
    """The key that may charge."""
    name: Nonce
    """Told apart by it: two permits to one door add up."""
    micro: Micro
    """All charges by it together, at most."""
    until_ms: Millis


class PoolFunded(Statement):
    """Credits for the pool: out of the author's wallet, or by an operator of the lab out of the treasury."""

    kind: Literal["pool.funded"] = "pool.funded"
    source: Literal["wallet", "treasury"]
    micro: Micro


class PoolPledged(Statement):
    """A provider gives a part of what it is paid from now on to the pool; 0: nothing any more, not even what has come
    together since the last collection.
    """

    kind: Literal["pool.pledged"] = "pool.pledged"
    parts: Annotated[int, Field(ge=0, le=MILLION)]
    """Millionths of its pay."""


class PoolRuled(Statement):
    """An operator of the lab says whom the pool gives to, and how much."""

    kind: Literal["pool.ruled"] = "pool.ruled"
    verifiers: Annotated[tuple[Did, ...], Field(max_length=MAX_VERIFIERS)]
    """Whose attestations count; none: nobody is given anything for asking."""
    doors: Annotated[tuple[Did, ...], Field(max_length=MAX_GRANT_DOORS)]
    """Keys that may charge grants."""
    person_micro: Annotated[int, Field(ge=0, le=MAX_MOVED_MICRO)]
    """To each person who asks, once in a calendar month (UTC); less where the pool holds less."""
    grant_micro: Micro
    """No grant is larger, by whomever it is given."""
    verifier_micro: Micro
    """In a month to all whom one verifier attested."""
    month_micro: Micro
    """In a month to everybody."""
    lasts_ms: _Lasting
    """A grant that was asked for; what is left then goes back to the pool."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.person_micro > self.grant_micro:
            raise ValueError(
                f"person_micro = {self.person_micro} is beyond grant_micro = {self.grant_micro}"
            )
        if len({*self.verifiers}) < len(self.verifiers) or len({*self.doors}) < len(self.doors):
            raise ValueError("a verifier or a door is named twice")
        return self


class GrantGiven(Statement):
    """An operator of the lab gives out of the pool, to whom it likes and for a reason that everybody reads."""

    kind: Literal["grant.given"] = "grant.given"
    to: Did
    micro: Micro
    until_ms: Millis
    reason: Reason


class GrantRequested(Statement):
    """A person asks for this month's grant."""

    kind: Literal["grant.requested"] = "grant.requested"
    attestation: Signed


class GrantCharged(Statement):
    """A door's receipt: what it did for a grantee since the last one, and what that costs."""

    kind: Literal["grant.charged"] = "grant.charged"
    permit: Signed
    micro: Micro
    num_tokens: Count
    since_ms: Millis
    """Not before the end of the last receipt by this permit."""
    until_ms: Millis

    @model_validator(mode="after")
    def _is_a_time(self) -> Self:
        if self.since_ms >= self.until_ms:
            raise ValueError(f"since_ms = {self.since_ms} is not before until_ms = {self.until_ms}")
        return self


class GrantEnded(Statement):
    """An operator of the lab, or the grantee itself, ends all its grants; what is left goes back to the pool."""

    kind: Literal["grant.ended"] = "grant.ended"
    grantee: Did
    reason: Reason


Granting: TypeAlias = (
    PoolFunded | PoolPledged | PoolRuled | GrantGiven | GrantRequested | GrantCharged | GrantEnded
)
"""What may stand in a ledger of the pool and its grants."""
