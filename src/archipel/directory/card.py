"""One lab's card as it was signed. Pure.

Law: there is a `Card` only if its lab's key signed it, and what it shows of the ledger is signed by the same key.
"""

from dataclasses import dataclass
from functools import cached_property

from archipel.identity import Envelope, Identity, IdentityError, sign, verify
from archipel.ledger.cosignature import cosigned_at
from archipel.ledger.signed_note import BadNote, NoteKey
from archipel.ledger.tree_head import BadTreeHead, TreeHead, verify_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.canonical import sha256_digest
from archipel.records.lab_card import (
    CARD_TYPE,
    MAX_CARD_BYTES,
    LabCard,
    card_bytes,
    card_from_bytes,
)

MAX_SEALED_BYTES = MAX_CARD_BYTES * 3 // 2
"""Of a card in its envelope."""
MAX_AHEAD_MS = 3_600_000
"""A card from a clock that is ahead by more is not believed yet."""


class BadCard(ValueError):
    """Bytes that are no card, or that the lab which they name did not sign."""


@dataclass(frozen=True)
class Card:
    """What a lab says of itself, and the envelope that says so."""

    said: LabCard
    sealed: bytes
    """The envelope, as it came."""
    head: TreeHead | None
    """Of its ledger, signed by its key."""

    @cached_property
    def digest(self) -> str:
        """Of what was signed: two cards with different ones say different things."""
        return sha256_digest(card_bytes(self.said))

    def is_in_force(self, now_ms: int) -> bool:
        """Whether it may be shown at this time, which is Unix time in milliseconds."""
        return self.said.issued_ms <= now_ms + MAX_AHEAD_MS and now_ms < self.said.until_ms


def read_card(sealed: bytes) -> Card:
    """A card.

    1. An envelope within bounds. 2. Its signature holds. 3. What it says is a card in its one spelling. 4. The signer is the lab
    that it is of. 5. It names this lab's ledger, and its head is signed by the lab. Does not show that anything else in it is true.

    Raises:
        BadCard: any of these fails.
    """
    try:
        envelope = Envelope.from_json(sealed, MAX_CARD_BYTES)
        signer = verify(envelope, CARD_TYPE)
        said = card_from_bytes(envelope.payload)
        if signer != said.lab:
            raise BadCard(f"a card of {said.lab}, signed by {signer}; expected its own signature")
        return Card(said, sealed, _head(said))
    except (IdentityError, ValueError) as error:
        raise BadCard(f"no lab's card: {str(error).splitlines()[0]:.300}") from None


def signed_card(identity: Identity, said: LabCard) -> Card:
    """The same, by the lab itself.

    Raises:
        BadCard: it says more than a card may, or is another lab's.
    """
    try:
        sealed = sign(identity, card_bytes(said), CARD_TYPE, MAX_CARD_BYTES).to_json()
    except ValueError as error:
        raise BadCard(str(error)) from None
    return read_card(sealed)


def witnessed(note: str, said: LabCard) -> dict[str, int]:
    """Key line of each witness that the card names and that signed this head -> when it last did, in Unix seconds.

    Lines of others, and signatures that do not hold, count for nothing.
    """
    found: dict[str, int] = {}
    for each in said.witnesses:
        try:
            found[each.key] = cosigned_at(note.encode(), NoteKey.from_text(each.key))
        except BadNote:
            continue
    return found


def _head(said: LabCard) -> TreeHead | None:
    key = lab_key(said.lab)
    if said.origin != key.name:
        raise BadCard(
            f"its ledger is {said.origin!r:.80}; expected {key.name}, which its key signs"
        )
    if said.head is None:
        return None
    try:
        return verify_tree_head(said.head.encode(), key)
    except BadTreeHead as error:
        raise BadCard(f"the head that it shows: {error}") from None
