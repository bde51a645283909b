"""The newest signed tree head, kept outside the database.

A database alone cannot tell that it was cut off: a write-ahead file with a damaged frame, like an
older backup, reads as a sound but shorter log, and the lab would go on from there and sign a second
history. So after every append the head is also written here, and every opening compares.

Law: the database is written first, so it never holds fewer entries than this file promises. Two
slots are overwritten in turn, each with the signed note and zero bytes; a torn write leaves the
other. In place and preallocated: one flush of the disk, where a file renamed into place needs three,
and a full disk has nothing to refuse. The flush goes on beside the caller's next work and is waited
for before the next head is written: a power cut may cost the file its newest head, nothing else may.
"""

import fcntl
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import mkstemp

from archipel.ledger.signed_note import NoteKey
from archipel.ledger.storage import LedgerCorrupt, LedgerError, LedgerInUse, LedgerUnavailable
from archipel.ledger.tree_head import BadTreeHead, TreeHead, verify_tree_head

SLOT_BYTES = 4096
"""A page of its own for each slot: no write touches the other."""
FILE_BYTES = 2 * SLOT_BYTES


class HeadFile:
    """The head file at `path`, held by one writer at a time; `writable` takes that place."""

    def __init__(self, path: Path, key: NoteKey, *, writable: bool) -> None:
        """Read the file, if there is one.

        Raises:
            LedgerInUse: another process writes to it. LedgerCorrupt: it holds no head by `key`.
            LedgerUnavailable: it cannot be read (or written).
        """
        self.path = path
        self.head: TreeHead | None = None
        """The newest head that the file holds; None while there is no file."""
        self._key = key
        self._newest = 0
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="head-file")
        self._flushing: Future[None] | None = None
        self._descriptor = _open(path, os.O_RDWR if writable else os.O_RDONLY)
        if self._descriptor is None:
            return
        try:
            if writable:
                _lock(self._descriptor, path)
            self._read(self._descriptor)
        except LedgerError:
            self.close()
            raise
        if not writable:
            self.close()

    @property
    def size(self) -> int:
        """How many entries the lab has signed, as far as this file knows."""
        return self.head.size if self.head else 0

    def compare(self, size: int, root: bytes) -> None:
        """Compare with a log of `size` entries and `root`, that of as many as this head covers.

        Raises:
            LedgerCorrupt: the log ends before this head, or holds other entries.
        """
        if size < self.size:
            raise LedgerCorrupt(
                f"the ledger was cut off: it ends at entry {size}, but by {self.path} this lab has "
                f"signed a head over {self.size} entries, so either a part of the ledger (its "
                "write-ahead file, for instance) is damaged or an older copy was put back; keep "
                "these files, and restore the newer copy, or one of the whole folder"
            )

        if self.head is not None and root != self.head.root:
            raise LedgerCorrupt(
                f"the ledger's first {self.size} entries are not those that this lab has signed by "
                f"{self.path}: the two belong to different histories; keep both, and restore the "
                "copy that belongs together"
            )

    def missing(self, place: str) -> LedgerCorrupt:
        """What to raise when there is a head, but no log at all."""
        return LedgerCorrupt(
            f"{place}, but by {self.path} this lab has signed a head over {self.size} entries: the "
            "database was deleted or another one is meant; restore it, or name the right one"
        )

    def keep(self, head: TreeHead) -> None:
        """Make `head` the newest; every one before it is durable on return, this one soon after.

        Raises:
            LedgerUnavailable: this head or the one before cannot be written.
        """
        slot = _slot(head)
        try:
            self._wait()
            if self._descriptor is None:
                self._descriptor = _create(self.path, slot)
                _lock(self._descriptor, self.path)
            elif head != self.head:
                os.pwrite(self._descriptor, slot, (1 - self._newest) * SLOT_BYTES)
                self._newest = 1 - self._newest
                self._flushing = self._flusher.submit(_synchronise, self._descriptor)
        except OSError as error:
            raise LedgerUnavailable(
                f"cannot write {self.path}: {error.strerror}; mend that and open the log again"
            ) from None
        self.head = head

    def close(self) -> None:
        """Wait for what is being written and let another process write; idempotent."""
        try:
            self._wait()
        except OSError as error:
            raise LedgerUnavailable(f"cannot write {self.path}: {error.strerror}") from None
        finally:
            self._flusher.shutdown()
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _wait(self) -> None:
        flushing, self._flushing = self._flushing, None
        if flushing is not None:
            flushing.result()

    def _read(self, descriptor: int) -> None:
        try:
            data = os.pread(descriptor, FILE_BYTES + 1, 0)
        except OSError as error:
            raise LedgerUnavailable(f"cannot read {self.path}: {error.strerror}") from None
        problems = []
        if len(data) != FILE_BYTES:
            problems.append(f"{len(data)} bytes or more, expected {FILE_BYTES}")
        for number in (0, 1) if not problems else ():
            note = data[number * SLOT_BYTES :][:SLOT_BYTES].rstrip(b"\0")
            try:
                head = verify_tree_head(note, self._key)
            except BadTreeHead as error:
                problems += [str(error)] if note else []
                continue
            if self.head is None or head.size >= self.head.size:
                self.head, self._newest = head, number
        if self.head is None:
            found = problems[0] if problems else "it is blank"
            raise LedgerCorrupt(
                f"{self.path} is not by {self._key.to_text()}: {found:.300}; it is damaged or "
                "another lab's: restore it, or, if you know this ledger to be the newest copy, "
                "move the file away and it is made anew"
            )


def _slot(head: TreeHead) -> bytes:
    if len(head.note) > SLOT_BYTES:
        raise LedgerUnavailable(f"a head of {len(head.note)} bytes; {SLOT_BYTES} fit")
    return head.note.ljust(SLOT_BYTES, b"\0")


def _open(path: Path, flags: int) -> int | None:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LedgerUnavailable(f"cannot open {path}: {error.strerror}") from None


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise LedgerInUse(
            f"another process is writing to the log of {path}; stop it first (a log has one writer)"
        ) from None


def _create(path: Path, slot: bytes) -> int:
    """A new file, whole from the first moment it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.fchmod(descriptor, 0o644)  # a head is for everybody
        os.pwrite(descriptor, slot.ljust(FILE_BYTES, b"\0"), 0)
        _synchronise(descriptor)
        path.hardlink_to(name)  # unlike a rename, never in another file's place
    except BaseException:
        os.close(descriptor)
        raise
    finally:
        Path(name).unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return descriptor


def _synchronise(descriptor: int) -> None:
    to_platter = getattr(fcntl, "F_FULLFSYNC", None)  # macOS keeps fsync's bytes in the drive
    if to_platter is not None:
        fcntl.fcntl(descriptor, to_platter)
    else:
        os.fdatasync(descriptor)
