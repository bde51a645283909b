"""Heads of a mirrored lab that others saw, compared with what it showed here: a lab with two faces is found by whoever compares.

Parts: `Elsewhere` (another place that keeps a mirror of the same lab), `Comparing`. Law: what another place says is believed
only as far as the lab's own signatures go; what is asked of it is bounded, and its silence changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass

from archipel.lab.mirrors import seen
from archipel.lab.mirrors.keeping import EVIDENCE, Keeper
from archipel.ledger.evidence import (
    FORK,
    MAX_EVIDENCE_BYTES,
    BadEvidence,
    between,
    name_of,
    read_evidence,
)
from archipel.ledger.merkle import NodeHashes
from archipel.ledger.storage import LedgerError
from archipel.ledger.tiles import MAX_BUNDLE_BYTES, Place, nodes_of_tiles
from archipel.ledger.tree_head import BadTreeHead, TreeHead, verify_tree_head
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


class Comparing:
    """One lab's heads, here and elsewhere."""

    def __init__(self, keeper: Keeper, patience_ms: int) -> None:
        """patience_ms: how long a lab may show less here than it signed elsewhere."""
        self._keeper, self._patience_ms = keeper, patience_ms
        self._ahead_ms: dict[str, int] = {}
        """Address -> since when it has a head that the lab does not show here."""

    def look(self, view: MirrorView, other: Elsewhere, now_ms: int) -> MirrorView:
        """What is known then.

        Raises:
            LedgerError: the place does not say what it takes. BadEvidence, OSError: likewise; the disk.
        """
        keeper = self._keeper
        try:
            head = verify_tree_head(other.view.head.encode(), keeper.key)
        except BadTreeHead:
            return self._evidence(view, other, now_ms)
        newest = keeper.mirror.head
        if newest is None:
            return view
        if head.size <= newest.size:
            self._ahead_ms.pop(other.url, None)
            view = keeper.compared(view, head, keeper.mirror.nodes(), other.url, now_ms)
        else:
            view = self._larger(view, newest, head, other, now_ms)
        return self._evidence(view, other, now_ms)

    def _larger(
        self, view: MirrorView, newest: TreeHead, head: TreeHead, other: Elsewhere, now_ms: int
    ) -> MirrorView:
        """It signed more there than it shows here."""
        nodes = _nodes(head.size, other.read)
        if between(newest, head, nodes)[0] != newest.root:
            return self._keeper.compared(view, head, nodes, other.url, now_ms)
        since_ms = self._ahead_ms.setdefault(other.url, now_ms)
        if view.answered_ms < since_ms + self._patience_ms:
            return view
        return self._keeper.went_back(view, head, nodes, now_ms)

    def _evidence(self, view: MirrorView, other: Elsewhere, now_ms: int) -> MirrorView:
        """Forks that were found there: shown by the lab's own signatures, so that they are known here too."""
        files = [each.evidence for each in other.view.faults if each.kind == "fork"]
        for name in [each for each in files if each][:MAX_FILES]:
            if any(each.evidence == name for each in view.faults):
                continue
            data = other.read(f"/{EVIDENCE}/{name}", MAX_EVIDENCE_BYTES)
            found = read_evidence(data)
            evidence = found.evidence
            if evidence.lab != self._keeper.did or evidence.kind != FORK:
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
                self._keeper.keep_evidence(name_of(evidence), data)
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
