"""Labs' cards for tests: signed by the key that a word makes."""

import hashlib
from functools import cache
from typing import Any

from archipel.directory.card import Card, signed_card
from archipel.identity import Identity
from archipel.ledger.tree_head import sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.lab_card import MAX_VALID_MS, LabCard

NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000


@cache
def lab_identity(word: str) -> Identity:
    """The same word, the same key."""
    return Identity.from_seed(hashlib.sha256(word.encode()).digest())


@cache
def card(word: str, number: int = 1, **said: Any) -> Card:
    """A card of the lab `word`, in force at NOW_MS for ten days unless told otherwise."""
    identity = lab_identity(word)
    fields = {
        "issued_ms": NOW_MS,
        "until_ms": NOW_MS + 10 * DAY_MS,
        "addresses": (f"https://{word}.example",),
    }
    named = {"lab": identity.did, "number": number, "origin": lab_key(identity.did).name}
    return signed_card(identity, LabCard(**(named | fields | said)))


def withdrawn(word: str, number: int) -> Card:
    """The lab's last word."""
    until_ms = NOW_MS + MAX_VALID_MS
    return card(word, number, addresses=(), withdrawn=True, until_ms=until_ms)


def head(word: str, size: int = 3) -> str:
    """A head of the lab's ledger."""
    identity = lab_identity(word)
    return sign_tree_head(identity, lab_key(identity.did).name, size, bytes(32)).note.decode()
