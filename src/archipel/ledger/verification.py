"""Entries that came from elsewhere, checked against the head that is said to cover them. Pure.

Parts: `lab_key` (who must have signed), `entries_under` (what was signed).
"""

from collections.abc import Iterable, Iterator

from archipel.identity import did_to_public_key
from archipel.ledger.merkle import Frontier, leaf_hash
from archipel.ledger.signed_note import NoteKey
from archipel.ledger.storage import LedgerCorrupt
from archipel.ledger.tree_head import TreeHead

ORIGIN_PREFIX = "archipel.lab/"
"""Of a lab's tree heads; its key follows."""
_BATCH = 1024
"""Leaves hashed together."""


def lab_key(did: str) -> NoteKey:
    """The key of a lab's tree heads: its own, under a name that follows from it.

    Raises:
        BadDid: `did` names no Ed25519 key.
    """
    return NoteKey(f"{ORIGIN_PREFIX}{did.rsplit(':', 1)[-1]}", did_to_public_key(did))


def entries_under(head: TreeHead, entries: Iterable[bytes]) -> Iterator[bytes]:
    """Hand on the entries of a log of which `head` is a verified head.

    1. There are exactly as many as the head covers. 2. They have its root. The last is held back
    until both are known, so whoever got `head.size` entries has seen them verified; whoever got
    fewer has not. Does not show that the lab shows everybody the same head.

    Raises:
        LedgerCorrupt: too few, too many, or others than were signed.
    """
    frontier, leaves, last = Frontier(), [], b""
    for number, entry in enumerate(entries):
        if number >= head.size:
            raise LedgerCorrupt(f"more entries than the {head.size} that the signed head covers")
        leaves.append(leaf_hash(entry))
        if len(leaves) == _BATCH:
            frontier, leaves = frontier.extended(leaves), []
        if number == head.size - 1:
            last = entry
        else:
            yield entry
    frontier = frontier.extended(leaves)
    if frontier.size != head.size:
        raise LedgerCorrupt(
            f"{frontier.size} entries came, the signed head covers {head.size}: some were left out"
        )
    if frontier.root() != head.root:
        raise LedgerCorrupt(f"these {head.size} entries do not add up to the root that was signed")
    if head.size:
        yield last
