"""A lab's ledger as a folder of plain files: a signed checkpoint, tiles and bundles, for any web server.

    checkpoint                      the newest head that the files are over, as its lab signed it
    tile/entries/..., tile/L/...    C2SP tiles (`tiles`)
    witnesses/NAME.note             the checkpoint once more, each with a witness's signature

Parts: `Mirror` (the folder), `verified` (all of it looked at). Laws: files come before the checkpoint that is over
them, so a mirror that was killed goes on from its last checkpoint; nothing is taken in that the lab's head does not
cover; no file is believed before its hashes lead to the signed root.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from archipel.ledger.building import Builder
from archipel.ledger.merkle import EMPTY_ROOT, NodeHashes, subtree_hash
from archipel.ledger.signed_note import MAX_NOTE_BYTES, NoteKey
from archipel.ledger.storage import LedgerCorrupt, LedgerMissing, LedgerUnavailable
from archipel.ledger.tiles import (
    ENTRIES,
    MAX_BUNDLE_BYTES,
    TILE_BYTES,
    TILE_WIDTH,
    BadTile,
    Place,
    entries_of,
    hashes_of,
    nodes_of_tiles,
    place_at,
    places,
)
from archipel.ledger.tree_head import BadTreeHead, TreeHead, verify_tree_head
from archipel.ledger.verification import entries_under

CHECKPOINT = "checkpoint"
WITNESSES = "witnesses"
COSIGNED_SUFFIX = ".note"
MAX_WITNESSES = 64
"""Whose signatures are kept beside a mirror."""


def cosigned_place(witness: str) -> str:
    """Where in a mirror a checkpoint lies with the signature of the witness of this name."""
    plain = re.sub(r"[^A-Za-z0-9.-]", "_", witness)
    return f"{WITNESSES}/{plain}{COSIGNED_SUFFIX}"


def cosigned_files(folder: Path) -> list[str]:
    """Names of the files with witnesses' signatures in a mirror's folder; at most MAX_WITNESSES."""
    found = sorted(path.name for path in (folder / WITNESSES).glob(f"[!.]*{COSIGNED_SUFFIX}"))
    return found[:MAX_WITNESSES]


class Mirror:
    """The folder of one log's files; one process at a time writes to it."""

    def __init__(self, folder: Path, key: NoteKey) -> None:
        """Read the checkpoint, if there is one.

        Raises:
            LedgerCorrupt: it is not signed by `key`. LedgerUnavailable: it cannot be read.
        """
        self.folder, self.key = folder, key
        self.named: frozenset[str] = frozenset()
        """Witnesses whose files always stay."""
        note = _read(folder / CHECKPOINT, MAX_NOTE_BYTES)
        self.head: TreeHead | None = None if note is None else _checked(note, key, folder)

    @property
    def size(self) -> int:
        """Entries that the checkpoint is over."""
        return self.head.size if self.head else 0

    def nodes(self) -> NodeHashes:
        """Hashes of the tree, for proofs; a damaged tile gives a proof that does not hold."""
        return nodes_of_tiles(self.size, self.read)

    def read(self, place: Place) -> bytes:
        """The bytes of a tile or bundle.

        Raises:
            LedgerCorrupt: it is missing or too large.
        """
        limit = MAX_BUNDLE_BYTES if place.level == ENTRIES else TILE_BYTES
        data = _read(self.folder / place.path, limit)
        if data is None:
            raise LedgerCorrupt(f"{self.folder / place.path} is missing from this mirror")
        return data

    def entries(self) -> Iterator[bytes]:
        """Every entry as it stands in the bundles; `entries_under` shows whether they are the signed ones."""
        for place in places(self.size):
            if place.level == ENTRIES:
                yield from self.bundle(place)

    def entry(self, index: int) -> bytes:
        """One entry, unchecked."""
        tile, within = divmod(index, TILE_WIDTH)
        width = min(TILE_WIDTH, self.size - tile * TILE_WIDTH)
        return self.bundle(Place(ENTRIES, tile, width))[within]

    def extend(self, entries: Iterable[bytes], head: TreeHead) -> None:
        """Take in what came after this mirror's checkpoint, which `head` is over.

        Raises:
            LedgerCorrupt: fewer or more entries than that, others than were signed, or what stands here is damaged:
                the files of the old checkpoint stay as they are, and nothing else.
            LedgerUnavailable: the disk.
        """
        if head.size < self.size:
            raise LedgerCorrupt(
                f"the lab's newest head is over {head.size} entries, but this mirror has one that it signed over "
                f"{self.size}: it has gone back to an older ledger; keep both heads, they are the proof"
            )
        try:
            self._grow(entries, head)
        except Exception:
            self._sweep()  # a growth without end must leave no more than one that never began
            raise
        os.sync()  # all files before the checkpoint that is over them
        _write(self.folder / CHECKPOINT, head.note)
        self.head = head
        self._sweep()

    def _grow(self, entries: Iterable[bytes], head: TreeHead) -> None:
        builder = Builder(self, self.size, head.size, self._write)
        for entry in entries:
            builder.add(entry)
        builder.finish()
        if _root(head.size, self.read) != head.root:
            raise LedgerCorrupt(
                f"the lab's entries up to {head.size} do not lead to the root that it signed, with the "
                f"{self.size} that stand here under an earlier head of its own: it shows two histories; keep this "
                "mirror and that head, they are the proof"
            )

    def keep_cosigned(self, witness: str, note: bytes) -> None:
        """A checkpoint with a signature of the witness of this name.

        Anybody can be a witness: of more than MAX_WITNESSES files those go whose witness came last, never one that is named, nor
        the one over the most entries, so that whoever continues this log still sees the largest head that was signed. The time
        of a file is when its witness first signed.
        """
        path = self.folder / cosigned_place(witness)
        first_ns = path.stat().st_mtime_ns if path.exists() else None
        _write(path, note)
        if first_ns is not None:
            os.utime(path, ns=(first_ns, first_ns))
        kept = list((self.folder / WITNESSES).glob(f"[!.]*{COSIGNED_SUFFIX}"))
        if len(kept) > MAX_WITNESSES:
            stays = {self.folder / cosigned_place(each) for each in self.named}
            stays.add(max(kept, key=_said_size))
            came_last = sorted(kept, key=lambda each: (each.stat().st_mtime_ns, each == path))
            for each in [one for one in came_last if one not in stays][MAX_WITNESSES - len(kept) :]:
                each.unlink(missing_ok=True)

    def bundle(self, place: Place) -> list[bytes]:
        """The entries of a bundle, unchecked but for their form. Raises LedgerCorrupt, naming the file."""
        try:
            return entries_of(self.read(place), place.width)
        except BadTile as error:
            raise LedgerCorrupt(f"{self.folder / place.path}: {error}") from None

    def hashes(self, place: Place) -> list[bytes]:
        """The hashes of a tile. Raises LedgerCorrupt, naming the file."""
        try:
            return hashes_of(self.read(place), place.width)
        except BadTile as error:
            raise LedgerCorrupt(f"{self.folder / place.path}: {error}") from None

    def _write(self, place: Place, data: bytes) -> None:
        _write(self.folder / place.path, data)

    def _sweep(self) -> None:
        """Partial files of smaller logs, and what a growth that was cut off or refused left."""
        kept = {place.path for place in places(self.size)}
        for path in _files(self.folder):
            if path not in kept and place_at(path):
                (self.folder / path).unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    (self.folder / path).parent.rmdir()


def _passed(entries: Iterable[bytes], builder: Builder) -> Iterator[bytes]:
    for entry in entries:
        builder.add(entry)
        yield entry
    builder.finish()


def verified(mirror: Mirror) -> Iterator[bytes]:
    """Hand on every entry of a mirror while all of it is looked at.

    1. There is a checkpoint, by the lab. 2. Every bundle is whole. 3. Every tile is what the entries give. 4. The
    entries have the signed root. 5. There is nothing else under `tile/`. The last entry is held back until all
    of this is known, so whoever got as many as the checkpoint is over has seen them verified.

    Raises:
        LedgerCorrupt: naming the file.
        LedgerMissing: no checkpoint.
    """
    head = mirror.head
    if head is None:
        raise LedgerMissing(
            f"{mirror.folder} holds no checkpoint: no mirror, or none that got so far"
        )
    wrong: list[Place] = []

    def compare(place: Place, data: bytes) -> None:
        if place.level != ENTRIES and mirror.read(place) != data:
            wrong.append(place)

    builder, held = Builder(mirror, 0, head.size, compare), b""
    try:
        for entry in entries_under(head, _passed(mirror.entries(), builder)):
            if held:
                yield held
            held = entry
    except LedgerCorrupt as error:
        spoiled = [Place(ENTRIES, each.index, each.width).path for each in wrong if each.level == 0]
        raise LedgerCorrupt(
            f"{mirror.folder / spoiled[0]} is damaged: {error}" if spoiled else str(error)
        ) from None
    if wrong:
        raise LedgerCorrupt(
            f"{mirror.folder / wrong[0].path} is damaged: it is not what the signed entries give"
        )
    _check_strangers(mirror.folder)
    if held:
        yield held


def _check_strangers(folder: Path) -> None:
    """Tiles of another size of the log are what a growth that was cut off left; anything else is not ours."""
    for path in _files(folder):
        if place_at(path) is None:
            raise LedgerCorrupt(f"{folder / path} is none of a mirror's files: remove it")


def _files(folder: Path) -> Iterator[str]:
    """Under `tile/`, relative to the folder; but for what is being written."""
    for root, _, names in os.walk(folder / "tile"):
        for name in names:
            if not name.endswith(".partial"):
                yield (Path(root) / name).relative_to(folder).as_posix()


def _root(size: int, read: Callable[[Place], bytes]) -> bytes:
    return subtree_hash(0, size, nodes_of_tiles(size, read)) if size else EMPTY_ROOT


def _checked(note: bytes, key: NoteKey, folder: Path) -> TreeHead:
    try:
        return verify_tree_head(note, key)
    except BadTreeHead as error:
        raise LedgerCorrupt(
            f"{folder / CHECKPOINT} is not signed by {key.to_text()}: {error}"
        ) from None


def _said_size(path: Path) -> int:
    """Entries under a cosigned head; -1: it says none."""
    line = (_read(path, MAX_NOTE_BYTES) or b"").split(b"\n", 2)[1:2]
    return int(line[0]) if line and line[0].isdigit() and len(line[0]) < 20 else -1


def _read(path: Path, limit: int) -> bytes | None:
    """None: there is no such file."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LedgerUnavailable(f"cannot read {path}: {error.strerror}") from None
    if len(data) > limit:
        raise LedgerCorrupt(f"{path} has more than {limit} bytes, which none of its kind has")
    return data


def _write(path: Path, data: bytes) -> None:
    """Whole or as it was before."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_bytes(data)
        aside.replace(path)
    except OSError as error:
        raise LedgerUnavailable(f"cannot write {path}: {error.strerror}") from None
