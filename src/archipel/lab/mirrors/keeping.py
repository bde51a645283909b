"""One lab's ledger, mirrored, folded by the rules and cosigned, look after look.

Parts: `Asked` (who reads the lab), `Keeper`. Laws: nothing stands in the mirror that does not go on from what stood there;
nothing is cosigned that was not folded, and the witness's memory comes before its signature; a lab that signs what does not
go together is kept as evidence before anybody is told.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

from archipel.identity import Identity, IdentityError
from archipel.lab.apply import Contradiction
from archipel.lab.examining import read_entries
from archipel.lab.mirrors import seen
from archipel.lab.mirrors.complete import Complete
from archipel.lab.mirrors.cosigned import witness_name
from archipel.lab.mirrors.room import Room
from archipel.lab.recovery import Replaying, check_lab
from archipel.lab.state import LabState
from archipel.ledger.evidence import (
    FORK,
    ROLLBACK,
    Evidence,
    bare,
    between,
    name_of,
    shown,
    written,
)
from archipel.ledger.growing import GrowingMirror
from archipel.ledger.merkle import (
    NodeHashes,
    consistency_proof,
    leaf_hash,
    nodes_from_leaves,
    subtree_hash,
)
from archipel.ledger.mirror import Mirror, verified
from archipel.ledger.storage import LedgerCorrupt, LedgerError, LedgerUnavailable
from archipel.ledger.tree_head import TreeHead
from archipel.ledger.verification import lab_key
from archipel.ledger.witness import CONFLICT, OK, Witness, submission
from archipel.records.mirror_documents import MirrorFault, MirrorView
from archipel.records.statements import InvalidRecord, LabOpened

LEDGER, BLOBS, EVIDENCE, SIGNED, SEEN = "ledger", "blobs", "evidence", "signed", "seen.json"
"""In the folder of a mirror; the first two are what `archipel release collect` makes."""
MAX_ENTRIES = 20_000_000
"""No ledger of more is mirrored: its state is held in memory."""
MAX_PROVEN = 2_000_000
"""Entries of a second history that are read to prove it."""


class Asked(Protocol):
    """Who reads a lab's ledger; raises LedgerError where it does not answer in a form that can be used."""

    def head(self, did: str) -> TreeHead:
        """The newest, signed by the lab."""

    def entries(self, size: int, start: int = 0) -> Iterator[bytes]:
        """Entries `start` to `size`."""


class Broken(ValueError):
    """An entry that does not follow."""

    def __init__(self, entry: int, reason: str) -> None:
        super().__init__(f"entry {entry}: {reason}")
        self.entry = entry


class Keeper:
    """Of the mirror in one folder; one process at a time."""

    def __init__(
        self, folder: Path, did: str, observer: Identity, room: Room | None = None
    ) -> None:
        """observer: who signs heads and evidence. room: for the ledger; None: what every mirror has.

        Raises:
            LedgerError: what lies there cannot be read, or is another lab's. IdentityError: no key of a lab.
        """
        self.folder, self.did = folder, did
        self.key = lab_key(did)
        self.mirror = Mirror(folder / LEDGER, self.key)
        self._observer = observer
        self._room = room or Room(folder / LEDGER)
        self.complete = Complete(folder, self.key)
        self._replaying = Replaying(did)
        self._broken: Broken | None = None
        name = witness_name(observer.did)
        self.mirror.named = frozenset({name})
        self._sworn: Callable[[int], Witness] = lambda now_s: Witness(
            folder / SIGNED, name, observer, {self.key.name: self.key}, lambda: now_s
        )

    @property
    def state(self) -> LabState:
        """What the entries that were folded amount to."""
        return self._replaying.state

    def look(self, view: MirrorView, lab: Asked, now_ms: int) -> MirrorView:
        """Ask the lab once, and take in what holds; what is known then.

        Raises:
            LedgerError: it does not answer in a form that can be used. OSError: the disk.
        """
        head = lab.head(self.did)
        told = seen.answered(view, now_ms)
        newest = self.mirror.head
        if head.size > MAX_ENTRIES:
            raise LedgerUnavailable(f"it says {head.size} entries; at most {MAX_ENTRIES} are kept")
        if newest is None or head.size > newest.size:
            return self._grown(told, lab, head, now_ms)
        if (head.size, head.root) == (newest.size, newest.root):
            return self._after(told, now_ms)
        return self.compared(self._after(told, now_ms), head, self.mirror.nodes(), view.url, now_ms)

    def compared(
        self, view: MirrorView, head: TreeHead, nodes: NodeHashes, where: str, now_ms: int
    ) -> MirrorView:
        """Compare a head that was shown at `where` with the mirror's own.

        nodes: of the tree under the larger of both. Nothing changes where the larger goes on from the smaller, unless
        the smaller was shown by the lab itself just now: then it has gone back.
        """
        newest = self.mirror.head
        if newest is None:
            return view
        smaller, larger = (head, newest) if head.size <= newest.size else (newest, head)
        root, proof = between(smaller, larger, nodes)
        if root != smaller.root:
            return self._fault(view, FORK, (newest, head), (root, proof), where, now_ms)
        if head.size < newest.size and where == view.url:
            return self._fault(view, ROLLBACK, (newest, head), (b"", proof), where, now_ms)
        return view

    def taken(
        self, view: MirrorView, head: TreeHead, entries: Iterator[bytes], now_ms: int
    ) -> MirrorView:
        """Take in what the lab signed and somebody else has: entries from the mirror's size on, up to `head`.

        Raises:
            LedgerError: they are others. OSError: the disk.
        """
        self._extend(entries, head)
        return self._after(view, now_ms)

    def keep_evidence(self, name: str, data: bytes) -> None:
        """Keep a file of evidence."""
        path = self.folder / EVIDENCE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{name}.partial")
        aside.write_bytes(data)
        aside.replace(path)

    def cosign(self, now_s: int) -> tuple[str, str]:
        """(the mirror's newest head with our signature, our key line), if all of it was folded; else empty.

        Raises:
            LedgerError: the memory of what was signed cannot be read or written, or another process has it.
        """
        head = self.mirror.head
        if head is None or self.state.size != head.size:
            return "", ""
        sworn = self._sworn(now_s)
        try:
            note = bare(head, self.key)
            reply = sworn.add(submission(0, (), note))
            if reply.status == CONFLICT and 0 < int(reply.body) <= head.size:
                old = int(reply.body)
                proof = consistency_proof(old, head.size, self.mirror.nodes())
                reply = sworn.add(submission(old, tuple(proof), note))
            whole = note + reply.body.encode() if reply.status == OK else b""
            if whole:
                self.mirror.keep_cosigned(sworn.key.name, whole)
            return whole.decode(), sworn.key.to_text()
        finally:
            sworn.close()

    def _grown(self, view: MirrorView, lab: Asked, head: TreeHead, now_ms: int) -> MirrorView:
        start, newest = self.mirror.size, self.mirror.head
        coming = lab.entries(head.size, start)
        try:
            self._extend(coming, head)
        except LedgerCorrupt as error:
            if newest is None or not newest.size:
                raise
            return self._second_history(view, lab, head, error, now_ms)
        return self._after(view, now_ms)

    def _extend(self, coming: Iterator[bytes], head: TreeHead) -> None:
        num = head.size - self.mirror.size
        self.mirror.extend(self._room.passed(islice(coming, num)), head)

    def _second_history(
        self, view: MirrorView, lab: Asked, head: TreeHead, error: LedgerCorrupt, now_ms: int
    ) -> MirrorView:
        """What it shows now does not go on from the mirror: proven, if its own entries lead to its own head."""
        if head.size > MAX_PROVEN:
            raise error
        leaves = [leaf_hash(each) for each in islice(lab.entries(head.size), head.size)]
        nodes = nodes_from_leaves(leaves)
        if len(leaves) != head.size or subtree_hash(0, head.size, nodes) != head.root:
            raise LedgerUnavailable(
                f"its {len(leaves)} entries do not lead to the head that it shows"
            )
        return self.compared(view, head, nodes, view.url, now_ms)

    def _after(self, view: MirrorView, now_ms: int) -> MirrorView:
        """The mirror goes up to its checkpoint: fold what is new of it."""
        head = self.mirror.head
        if head is None:
            return view
        view = seen.grown(view, head.size, bare(head, self.key).decode(), now_ms)
        try:
            self._fold()
        except Broken as broken:
            fault = MirrorFault(
                kind="broken", at_ms=now_ms, words=str(broken)[:1000], entry=broken.entry
            )
            view = seen.faulty(view, fault)
        return view.model_copy(update={"folded": self.state.size})

    def _fold(self) -> None:
        """Raises Broken: again, once there was one."""
        if self._broken is not None:
            raise self._broken
        start, size = self.state.size, self.mirror.size
        if start == size:
            return
        try:
            self._take(start, size)
        except LedgerError as error:
            raise OSError(f"this mirror is damaged on its own disk: {error}") from None

    def _take(self, start: int, size: int) -> None:
        if start == 0:
            for _ in verified(self.mirror):
                pass  # what is damaged here is found before any statement in it is held against the lab
        entries = GrowingMirror(self.mirror.folder, self.key).entries(size, start)
        try:
            for number, read in enumerate(read_entries(entries), start):
                if number == 0 and not isinstance(read.entry.statement, LabOpened):
                    raise Contradiction(f"it is {read.entry.statement.kind}, expected lab.opened")
                self._replaying.take(read)
                self.complete.folded(self.state)
            check_lab(self.state, self.did)  # what it signed goes on under another key
        except (Contradiction, InvalidRecord, IdentityError) as error:
            self._broken = Broken(self.state.size, str(error))
            raise self._broken from None

    def _fault(
        self,
        view: MirrorView,
        kind: str,
        heads: tuple[TreeHead, TreeHead],
        proven: tuple[bytes, list[bytes]],
        where: str,
        now_ms: int,
    ) -> MirrorView:
        """Evidence of it, kept; heads: as they were seen."""
        earlier, later = heads
        root = b"" if earlier.size == later.size else proven[0]
        notes = [bare(each, self.key) for each in heads]
        evidence = Evidence(
            kind, self.did, notes[0], notes[1], root, tuple(proven[1]), view.head_ms, now_ms, where
        )
        shown(evidence)
        words = (
            f"signed heads over {earlier.size} and {later.size} entries that do not go on from each other"
            if kind == FORK
            else f"signed a head over {earlier.size} entries, and shows one over {later.size}"
        )
        name = name_of(evidence)
        fault = MirrorFault(
            kind="fork" if kind == FORK else "rollback",
            at_ms=now_ms,
            words=words,
            evidence=name,
            where=where,
        )
        told = seen.faulty(view, fault)
        if told is not view:
            self.keep_evidence(name, written(evidence, self._observer))
        return told
