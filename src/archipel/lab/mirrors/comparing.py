"""Heads of a mirrored lab that others saw, compared with what it showed here: a lab with two faces is found by whoever compares.

Parts: `Elsewhere` (another place that keeps a mirror of the same lab), `compared`. Law: what another place says is believed
only as far as the lab's own signatures go; what is asked of it is bounded, and its silence changes nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from archipel.identity import IdentityError
from archipel.lab.mirrors import seen
from archipel.lab.mirrors.cosigned import witness_in
from archipel.lab.mirrors.keeping import EVIDENCE, Keeper
from archipel.ledger.cosignature import cosigned_at
from archipel.ledger.evidence import (
    FORK,
    MAX_EVIDENCE_BYTES,
    BadEvidence,
    between,
    name_of,
    read_evidence,
)
from archipel.ledger.merkle import NodeHashes
from archipel.ledger.signed_note import BadNote
from archipel.ledger.storage import LedgerError, LedgerUnavailable
from archipel.ledger.tiles import (
    ENTRIES,
    MAX_BUNDLE_BYTES,
    TILE_WIDTH,
    BadTile,
    Place,
    entries_of,
    nodes_of_tiles,
    places,
)
from archipel.ledger.tree_head import BadTreeHead, verify_tree_head
from archipel.records.mirror_documents import MirrorFault, MirrorView

MAX_FILES = 8
"""Files of evidence that are taken from one place at a time."""
Read = Callable[[str, int], bytes]
"""(path, most bytes) -> what lies there; raises LedgerError."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A mirror of the same lab at another place."""

    url: str
    view: MirrorView
    """What that place says of it."""
    read: Read
    """Of a path in that mirror."""


def compared(keeper: Keeper, view: MirrorView, other: Elsewhere, now_ms: int) -> MirrorView:
    """What is known of a lab once its heads here and elsewhere were compared.

    Where it signed more there than it shows here, and that goes on from what is here, the mirror takes it in: whatever
    the lab shows next is compared with that.

    Raises:
        LedgerError: the place does not say what it takes. BadEvidence: likewise. OSError: the disk.
    """
    try:
        head = verify_tree_head(other.view.head.encode(), keeper.key)
    except BadTreeHead:
        return _evidence(keeper, view, other, now_ms)
    newest = keeper.mirror.head
    if newest is None:
        _keep_cosigned(keeper, other.view)
        view = keeper.taken(view, head, _entries(head.size, 0, other.read), now_ms)
    elif head.size <= newest.size:
        view = keeper.compared(view, head, keeper.mirror.nodes(), other.url, now_ms)
    else:
        nodes = _nodes(head.size, other.read)
        if between(newest, head, nodes)[0] == newest.root:
            _keep_cosigned(keeper, other.view)
            coming = _entries(head.size, newest.size, other.read)
            view = keeper.taken(view, head, coming, now_ms)
        else:
            view = keeper.compared(view, head, nodes, other.url, now_ms)
    return _evidence(keeper, view, other, now_ms)


def _evidence(keeper: Keeper, view: MirrorView, other: Elsewhere, now_ms: int) -> MirrorView:
    """Forks that were found there: shown by the lab's own signatures, so that they are known here too."""
    files = [each.evidence for each in other.view.faults if each.kind == "fork"]
    for name in [each for each in files if each][:MAX_FILES]:
        if any(each.evidence == name for each in view.faults):
            continue
        data = other.read(f"/{EVIDENCE}/{name}", MAX_EVIDENCE_BYTES)
        found = read_evidence(data)
        evidence = found.evidence
        if evidence.lab != keeper.did or evidence.kind != FORK:
            raise BadEvidence(f"{other.url} shows evidence of another lab, or of no fork")
        fault = MirrorFault(
            kind="fork",
            at_ms=now_ms,
            words=f"signed heads over {found.smaller.size} and {found.larger.size} entries that do not go on from "
            "each other",
            where=other.url,
            evidence=name_of(evidence),
        )
        told = seen.faulty(view, fault)
        if told is not view:
            keeper.keep_evidence(name_of(evidence), data)
        view = told
    return view


def _nodes(size: int, read: Read) -> NodeHashes:
    def tile(place: Place) -> bytes:
        return read(f"/{place.path}", MAX_BUNDLE_BYTES)

    found = nodes_of_tiles(size, tile)

    def node(level: int, index: int) -> bytes:
        try:
            return found(level, index)
        except ValueError as error:
            raise LedgerError(f"a tile that is none: {error}") from None

    return node


def _entries(size: int, start: int, read: Read) -> Iterator[bytes]:
    """Entries `start` to `size`, out of bundles; `Mirror.extend` shows whether they are the signed ones."""
    for place in places(size):
        first = place.index * TILE_WIDTH
        if place.level != ENTRIES:
            return
        if first + place.width > start:
            try:
                found = entries_of(read(f"/{place.path}", MAX_BUNDLE_BYTES), place.width)
            except BadTile as error:
                raise LedgerUnavailable(f"a bundle that is none: {error}") from None
            yield from found[max(start - first, 0) :]


def _keep_cosigned(keeper: Keeper, view: MirrorView) -> None:
    """A larger head, signed by a witness: kept before its entries come, so that nobody stops short of it unknowingly."""
    note = view.cosigned.encode()
    try:
        witness = witness_in(note)
        cosigned_at(note, witness)
        verify_tree_head(note, keeper.key)
    except (BadNote, BadTreeHead, IdentityError):
        return
    keeper.mirror.keep_cosigned(witness.name, note)
