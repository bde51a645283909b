"""A blob on its way in: hashed while it streams to the disk, resumable, named only at the end.

Law: a file gets its digest as a name only after all its bytes were hashed and synchronised.
Writers of one blob do not disturb each other: the first holds a lock on the partial file, any
other starts a private file of its own, and whoever ends first gives the blob its name.
"""

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from archipel.blobs.errors import (
    BlobBusy,
    BlobIncomplete,
    BlobTooLarge,
    DigestMismatch,
    StorageFull,
)
from archipel.blobs.layout import Layout, Quota, hexadecimal

_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class BlobWriter:
    """`write` chunks, then `commit`; leaving the `with` block earlier keeps what arrived."""

    def __init__(
        self, layout: Layout, quota: Quota, digest: str, size: int, *, offset: int | None
    ) -> None:
        """Start at `offset`; None writes a private file, which is dropped unless committed.

        Raises:
            BlobBusy: the partial blob does not end at `offset`, or is being written.
            StorageFull: the quota has no room.
        """
        self._digest = digest
        self._size = size
        self._final = layout.final(digest)
        self._quota = quota
        self._is_private = offset is None
        self._file, self._path = self._open(layout.partial(digest), offset or 0)
        self._announced = 0
        try:
            self._hash = hashlib.file_digest(self._file, "sha256")
            self._offset = self._file.tell()
            quota.reserve(max(0, size - self._offset))
        except BaseException:
            self.close()
            raise
        self._announced = max(0, size - self._offset)

    @property
    def offset(self) -> int:
        """Bytes received so far, resumed ones included."""
        return self._offset

    def write(self, data: bytes) -> None:
        """Add the next bytes.

        Raises:
            BlobTooLarge: more than announced; all of it is dropped.
            StorageFull: the disk is full; what fitted is kept for a resumed stream.
        """
        if self._offset + len(data) > self._size:
            self._drop()
            raise BlobTooLarge(f"more than the announced {self._size} bytes came: {self._digest}")
        rest = memoryview(data)
        while rest:
            with self._reported():
                num_written = self._file.write(rest)
            self._hash.update(rest[:num_written])
            self._offset += num_written
            self._announced -= num_written
            self._quota.release(num_written)
            rest = rest[num_written:]

    def commit(self) -> None:
        """Check, synchronise and give the blob its name.

        Raises:
            BlobIncomplete: fewer bytes than announced; kept for a resumed stream.
            DigestMismatch: other bytes than named, or more; dropped.
            StorageFull: the disk is full; kept.
        """
        if self._offset < self._size:
            self.close()
            raise BlobIncomplete(f"{self._offset} of {self._size} bytes came: {self._digest}")
        found = self._hash.hexdigest()
        if self._offset > self._size or found != hexadecimal(self._digest):
            self._drop()
            raise DigestMismatch(
                f"expected {self._size} bytes of {self._digest}, got {self._offset} bytes of "
                f"sha256:{found}; dropped, send them again"
            )
        with self._reported():
            os.fsync(self._file.fileno())
            self._final.parent.mkdir(exist_ok=True, mode=0o700)
            self._path.replace(self._final)
            # Only now: a crash before the rename must leave a partial file that can be written to.
            os.fchmod(self._file.fileno(), 0o444)
            _synchronise(self._final.parent)
            _synchronise(self._final.parent.parent)
        self._is_private = False  # it has its name now: nothing is left to drop
        self.close()

    def close(self) -> None:
        """Stop here; what arrived stays for a resumed stream, except in a private file."""
        if self._file.closed:
            return
        if self._is_private:
            self._path.unlink(missing_ok=True)
        self._file.close()  # lets go of the lock
        self._quota.release(self._announced)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, shared: Path, offset: int) -> tuple[FileIO, Path]:
        """The locked file, cut to `offset` with its start as position, and its path."""
        file = None if self._is_private else _open_locked(shared)
        if file is not None:
            present = os.fstat(file.fileno()).st_size
            if offset not in (0, present):
                file.close()
                raise BlobBusy(f"{self._digest} ends at {present}, not {offset}; resume from there")
            file.truncate(offset)
            return file, shared
        if offset:
            raise BlobBusy(f"another writer is filling {self._digest}; ask again later")
        self._is_private = True
        path = shared.with_name(f"{shared.name}.{secrets.token_hex(8)}")
        file = _open_locked(path)
        if file is None:
            raise BlobBusy(f"{path.name} is being removed as abandoned; try again")
        return file, path

    def _drop(self) -> None:
        self._is_private = True
        self.close()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            if error.errno not in _FULL_DISK:
                raise
            raise StorageFull(
                f"the disk is full after {self._offset} of {self._size} bytes of {self._digest}; "
                "make room and resume"
            ) from error


def remove_abandoned(partials: Path) -> None:
    """Remove the private files of writers that were killed: nobody holds their locks any more."""
    for path in partials.glob("*.*"):
        file = _open_locked(path)
        if file is not None:
            path.unlink()
            file.close()


def _open_locked(path: Path) -> FileIO | None:
    """The file at `path`, created if missing and locked for us; None if another writer has it."""
    while True:
        file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        # Between open and lock its last owner may have committed or dropped it: ours may then be
        # a finished blob under another name. Only the file that still has this name will do.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _synchronise(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
