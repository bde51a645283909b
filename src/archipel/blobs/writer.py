"""A blob on its way in: hashed while it streams to the disk, resumable, named only at the end.

Law: a file gets its digest as a name only after all its bytes were hashed, and, in a store that lasts,
synchronised.
Writers of one blob do not disturb each other: the first holds a lock on the partial file, any
other starts a private file of its own, and whoever ends first gives the blob its name.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Self

from archipel.blobs.account import Account
from archipel.blobs.errors import (
    BlobBusy,
    BlobIncomplete,
    BlobTooLarge,
    DigestMismatch,
    named_errors,
)
from archipel.blobs.layout import hexadecimal, locked


class BlobWriter:
    """`write` chunks, then `commit`; leaving the `with` block earlier keeps what arrived."""

    def __init__(
        self, account: Account, digest: str, size: int, *, offset: int | None, privileged: bool
    ) -> None:
        """Start at `offset`; None writes a private file, which is dropped unless committed.

        Raises:
            BlobBusy: the partial blob does not end at `offset`, or is being written.
            StorageFull: neither quota nor disk has room. StorageFailed, TooManyOpenFiles: the disk.
        """
        self._digest = digest
        self._size = size
        self._account = account
        self._final = account.layout.final(digest)
        self._is_private = offset is None
        self._is_named = False
        self._offset = offset or 0
        with named_errors(f"cannot keep {digest}"):
            self._file, self._path = self._open(account.layout.partial(digest), self._offset)
            try:
                self._hash = hashlib.file_digest(self._file, "sha256")
                self._announced = max(0, size - self._offset)
                account.announce(self._announced, privileged=privileged)
            except BaseException:
                self._let_go()
                raise

    @property
    def offset(self) -> int:
        """Bytes received so far, resumed ones included."""
        return self._offset

    @property
    def path(self) -> Path:
        """The file that it grows in until it gets its name."""
        return self._path

    def write(self, data: bytes) -> None:
        """Add the next bytes.

        Raises:
            BlobTooLarge: more than announced; all of it is dropped.
            StorageFull, StorageFailed: from the disk; what fitted is kept for a resumed stream.
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
            self._account.arrived(num_written)
            rest = rest[num_written:]

    def commit(self) -> None:
        """Check, synchronise (in a store that lasts) and give the blob its name.

        Raises:
            BlobIncomplete: fewer bytes than announced; kept for a resumed stream.
            DigestMismatch: other bytes than named, or more; dropped.
            StorageFull, StorageFailed: from the disk; kept.
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
        is_lasting = self._account.hashed is None
        with self._reported():
            if is_lasting:
                os.fsync(self._file.fileno())
            self._account.name(self._path, self._final, self._offset)
            self._is_named = True
            # Only now: a crash before the rename must leave a partial file that can be written to.
            os.fchmod(self._file.fileno(), 0o444)
            if is_lasting:
                self._make_name_last()
        self.close()

    def close(self) -> None:
        """Stop here; what arrived stays for a resumed stream, except in a private file."""
        if self._file.closed:
            return
        with named_errors(f"cannot put {self._digest} aside"):
            try:
                self._let_go()
            finally:
                self._account.release(self._announced)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, shared: Path, offset: int) -> tuple[FileIO, Path]:
        """The locked file, cut to `offset` with its start as position, and its path."""
        file = None if self._is_private else locked(shared, os.O_CREAT)
        if file is not None:
            present = os.fstat(file.fileno()).st_size
            if offset not in (0, present):
                file.close()
                raise BlobBusy(f"{self._digest} ends at {present}, not {offset}; resume from there")
            file.truncate(offset)
            self._account.dropped(present - offset)
            return file, shared
        if offset:
            raise BlobBusy(f"another writer is filling {self._digest}; ask again later")
        self._is_private = True
        path = shared.with_name(f"{shared.name}.{secrets.token_hex(8)}")
        file = locked(path, os.O_CREAT | os.O_EXCL)
        if file is None:
            raise BlobBusy(f"{path.name} is being removed as abandoned; try again")
        return file, path

    def _make_name_last(self) -> None:
        folder, lasting = self._final.parent, self._account.lasting_folders
        _synchronise(folder)
        if folder not in lasting:
            _synchronise(folder.parent)
            lasting.add(folder)

    def _drop(self) -> None:
        self._is_private = True
        self.close()

    def _let_go(self) -> None:
        """Keep what a resumed stream can use, and nothing else."""
        with self._file:  # its end lets go of the lock
            if not self._is_named and (self._is_private or self._offset == 0):
                self._path.unlink(missing_ok=True)
                self._account.dropped(self._offset)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        where = f"stopped after {self._offset} of {self._size} bytes of {self._digest}"
        with named_errors(where):
            try:
                yield
            except OSError:
                self.close()
                raise


def _synchronise(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
