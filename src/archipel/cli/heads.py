"""Tree heads in files: one kept from earlier shows whether a ledger has gone on from there.

A file holds a head as the lab signed it (a C2SP signed note), or is a lab's own `ledger.head`.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from archipel.cli.doors import Mendable
from archipel.cli.ledger_reader import did_of
from archipel.ledger.head_file import FILE_BYTES, SLOT_BYTES
from archipel.ledger.merkle import Frontier, leaf_hash
from archipel.ledger.signed_note import MAX_NOTE_BYTES, NoteKey
from archipel.ledger.storage import LedgerError
from archipel.ledger.tree_head import BadTreeHead, TreeHead, verify_tree_head
from archipel.ledger.verification import lab_key

_LEAVES = 1024
"""Hashed together."""


class EarlierHead:
    """What this lab had signed when the file was kept, or one whose ledger it continues."""

    def __init__(self, path: Path, key: NoteKey) -> None:
        """Read it; key: of the lab whose ledger it is compared with.

        Raises:
            Mendable: it cannot be read, or holds no head by a lab.
        """
        self.path, self._key = path, key
        self.head, self.former = _read(path, key)
        """former: another lab that signed it; whether the ledger was its own, only the fold tells (`check_former`)."""
        self._differs = False

    def check_size(self, size: int, place: str) -> None:
        """A ledger of `size` entries can only have gone on from here if it has at least as many.

        Raises:
            Mendable: it has fewer.
        """
        if size < self.head.size:
            raise Mendable(
                f"{place} ends at entry {size}, but by {self.path} its lab has signed a head over "
                f"{self.head.size} entries: this is an older copy (a backup that was put back, say), or "
                f"it was cut off by {self.head.size - size} entries; what is there says nothing of "
                "them, so get the newer one"
            )

    def compared(self, entries: Iterable[bytes]) -> Iterator[bytes]:
        """Hand on a ledger's entries; the first ones must be those that the head is over.

        Raises:
            Mendable: they are not.
        """
        frontier, leaves = Frontier(), []
        for number, entry in enumerate(entries):
            if number < self.head.size:
                leaves.append(leaf_hash(entry))
            if leaves and (len(leaves) == _LEAVES or number == self.head.size - 1):
                frontier, leaves = frontier.extended(leaves), []
            if number == self.head.size - 1:
                self._check_root(frontier.root())
            yield entry

    def check_former(self, taken_over: Mapping[str, int]) -> None:
        """Once the ledger was folded; taken_over: a lab that it was of before -> its entries in it.

        Raises:
            Mendable: the head is by another lab than these, or over other entries than were taken over.
        """
        if self.former is None:
            return
        entries = taken_over.get(self.former)
        if entries is None:
            raise Mendable(
                f"{self.path} holds no tree head by {self._key.name}: it is by {self.former}, whose ledger this never was"
            )
        if self._differs or self.head.size > entries:
            raise Mendable(
                f"{self.former} signed a head over {self.head.size} entries ({self.path}), and {entries} were taken over from it "
                "here: it went on, or had signed two histories; keep that head, what it is over has no place in this ledger"
            )

    def _check_root(self, root: bytes) -> None:
        self._differs = root != self.head.root
        if self._differs and self.former is None:
            raise Mendable(
                f"the first {self.head.size} entries are not those under the head in {self.path}: this "
                "lab has signed two histories, and the two heads prove it; keep both, and show them"
            )


def save_head(path: Path, head: TreeHead) -> None:
    """Write the head as it was signed; the file is whole or as it was before."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        aside.write_bytes(head.note)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _read(path: Path, key: NoteKey) -> tuple[TreeHead, str | None]:
    """The newest head in a file, and whose it is, if not `key`'s."""
    data = _data(path)
    try:
        return _newest(path, data, key), None
    except Mendable:
        origin = data.partition(b"\n")[0].decode("utf-8", "replace")
        try:
            other = did_of(origin, str(path))
        except LedgerError:
            other = ""
        if not other or origin == key.name:
            raise
    return _newest(path, data, lab_key(other)), other


def _data(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_NOTE_BYTES + 1)
    except OSError as error:
        raise Mendable(f"cannot read the head in {path}: {error.strerror}") from None
    return data


def _newest(path: Path, data: bytes, key: NoteKey) -> TreeHead:
    notes = [data]
    if len(data) == FILE_BYTES:
        notes = [data[:SLOT_BYTES].rstrip(b"\0"), data[SLOT_BYTES:].rstrip(b"\0")]
    heads, fault = [], ""
    for note in notes:
        try:
            heads.append(verify_tree_head(note, key))
        except BadTreeHead as error:
            fault = str(error)
    if not heads:
        raise Mendable(f"{path} holds no tree head by {key.name}: {fault:.300}")
    return max(heads, key=lambda head: head.size)
