"""Bytes named by their hash, never believed until hashed.

Parts: `Blobs` (the port; an object store may implement it), `BlobStore` (a local folder) and
`BlobWriter` (a stream that is hashed on its way to the disk and can be resumed).

Layout: `ab/cdef...` for the blob sha256:abcdef..., mode 0444; `partial/<hex>` for one that is still
arriving. Law: a file lies under its digest only after all its bytes were hashed and synchronised.
"""

import errno
import fcntl
import hashlib
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

MAX_BLOB_BYTES = 64 * 2**30
"""Default cap on one blob."""
MAX_STORE_BYTES = 512 * 2**30
"""Default quota of a store, partial blobs included."""
CHUNK_BYTES = 2**20

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_PARTIAL = "partial"
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class BlobError(Exception):
    """A blob cannot be kept or given."""


class BadDigest(BlobError, ValueError):
    """A name that is not `sha256:` and 64 lower-case hexadecimal digits."""


class BlobMissing(BlobError, LookupError):
    """There is no such blob here."""


class DigestMismatch(BlobError):
    """Bytes that are not the ones their name says; they have been removed."""


class BlobTooLarge(BlobError):
    """More bytes than were announced, or than one blob may have."""


class BlobIncomplete(BlobError):
    """The stream ended early; what arrived is kept for a resumed upload."""


class BlobBusy(BlobError):
    """Another writer is filling this partial blob, or its offset is not the one expected."""


class StorageFull(BlobError):
    """The disk or the store's quota is full."""


class Blobs(Protocol):
    """What every store of blobs can do. Digests are `sha256:` and 64 hexadecimal digits."""

    def exists(self, digest: str) -> bool:
        """Whether the whole blob is here."""

    def size(self, digest: str) -> int:
        """Bytes of the blob; BlobMissing if it is not here."""

    def put_bytes(self, data: bytes) -> str:
        """Keep `data`; return its digest."""

    def read_bytes(self, digest: str, max_bytes: int) -> bytes:
        """The whole blob, hashed again; BlobTooLarge over `max_bytes`, DigestMismatch if it rotted."""

    def chunks(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Bytes [start, stop) a chunk at a time, for a range request; the reader hashes them."""


class BlobStore:
    """Blobs in a local folder. Safe for several threads and processes."""

    def __init__(
        self,
        root: Path,
        max_blob_bytes: int = MAX_BLOB_BYTES,
        quota_bytes: int = MAX_STORE_BYTES,
    ) -> None:
        self._root = root
        self._max_blob_bytes = max_blob_bytes
        self._quota_bytes = quota_bytes
        self._lock = threading.Lock()
        self._reserved = 0  # bytes that writers of this process have announced but not yet written
        self._partials = root / _PARTIAL
        self._partials.mkdir(parents=True, exist_ok=True, mode=0o700)

    def exists(self, digest: str) -> bool:
        """Whether the whole blob is here."""
        return self._path(digest).is_file()

    def size(self, digest: str) -> int:
        """Bytes of the blob; raises BlobMissing."""
        with _blob_expected(digest):
            return self._path(digest).stat().st_size

    def path(self, digest: str) -> Path:
        """Where the whole blob lies, for whoever only reads it; raises BlobMissing."""
        if not self.exists(digest):
            raise BlobMissing(f"{digest} is not here")
        return self._path(digest)

    def used_bytes(self) -> int:
        """Bytes on the disk now, partial blobs included."""
        return sum(size for _, size in self._files())

    def digests(self) -> list[str]:
        """Every whole blob here, sorted."""
        return sorted(
            f"sha256:{path.parent.name}{path.name}"
            for path, _ in self._files()
            if path.parent != self._partials
        )

    def put_bytes(self, data: bytes) -> str:
        """Keep `data`; return its digest.

        Raises:
            BlobTooLarge: over the cap. StorageFull: no room; nothing is left behind.
        """
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        if self.exists(digest):
            return digest
        writer = BlobWriter(self, digest, len(data), is_private=True)
        with writer:
            writer.write(data)
            writer.commit()
        return digest

    def writer(self, digest: str, size: int, offset: int = 0) -> "BlobWriter":
        """A stream for a blob of `size` bytes that starts at `offset`.

        Args:
            digest: what the bytes must hash to.
            size: bytes of the whole blob, as announced; more is refused, fewer is incomplete.
            offset: 0 to begin anew, or `partial_offset(digest)` to go on.

        Raises:
            BlobTooLarge: announced over the cap. StorageFull: the quota has no room for it.
            BlobBusy: `offset` is not where the partial blob ends, or someone else is writing it.
        """
        return BlobWriter(self, digest, size, offset=offset)

    def partial_offset(self, digest: str) -> int:
        """How many bytes of an interrupted blob are here; a resumed stream starts there."""
        try:
            return self._partial(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def discard_partial(self, digest: str) -> None:
        """Forget an interrupted blob, so that its bytes count no longer."""
        self._partial(digest).unlink(missing_ok=True)

    def open(self, digest: str) -> BinaryIO:
        """The blob as a file, for whoever checks what it reads; raises BlobMissing."""
        with _blob_expected(digest):
            return self._path(digest).open("rb")

    def chunks(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Bytes [start, stop), at most CHUNK_BYTES at a time.

        Raises:
            BlobMissing: at once. ValueError: the range is not inside the blob.
        """
        size = self.size(digest)
        end = size if stop is None else stop
        if not 0 <= start <= end <= size:
            raise ValueError(f"range {start} to {end} is not inside a blob of {size} bytes")
        return _read_chunks(self.open(digest), start, end)

    def read_bytes(self, digest: str, max_bytes: int) -> bytes:
        """The whole blob, hashed again.

        Raises:
            BlobMissing, BlobTooLarge: over `max_bytes`. DigestMismatch: it rotted and was removed.
        """
        with self.open(digest) as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise BlobTooLarge(f"{digest} has more than {max_bytes} bytes")
        if hashlib.sha256(data).hexdigest() != _hexadecimal(digest):
            self.delete(digest)
            raise DigestMismatch(f"{digest} rotted on the disk; it was removed, fetch it again")
        return data

    def delete(self, digest: str) -> None:
        """Remove the blob if it is here."""
        self._path(digest).unlink(missing_ok=True)

    def verify_all(self) -> list[str]:
        """Hash every blob; remove the ones that rotted and return their digests."""
        rotten = []
        for digest in self.digests():
            with suppress(BlobMissing), self.open(digest) as file:  # someone may have deleted it
                if hashlib.file_digest(file, "sha256").hexdigest() != _hexadecimal(digest):
                    self.delete(digest)
                    rotten.append(digest)
        return rotten

    def _path(self, digest: str) -> Path:
        name = _hexadecimal(digest)
        return self._root / name[:2] / name[2:]

    def _partial(self, digest: str) -> Path:
        return self._partials / _hexadecimal(digest)

    def _files(self) -> Iterator[tuple[Path, int]]:
        for folder in self._root.iterdir():
            if folder == self._partials or re.fullmatch("[0-9a-f]{2}", folder.name):
                for path in folder.iterdir():
                    with suppress(FileNotFoundError):  # moved or removed by another writer
                        yield path, path.stat().st_size

    def _reserve(self, num_bytes: int) -> None:
        with self._lock:
            room = self._quota_bytes - self.used_bytes() - self._reserved
            if num_bytes > room:
                raise StorageFull(
                    f"{num_bytes} bytes do not fit the store's quota of {self._quota_bytes} "
                    f"({max(0, room)} left); delete blobs or raise the quota"
                )
            self._reserved += num_bytes

    def _release(self, num_bytes: int) -> None:
        with self._lock:
            self._reserved -= num_bytes


class BlobWriter:
    """One blob on its way in. `write` chunks, then `commit`; leaving the block early keeps them."""

    def __init__(
        self,
        store: BlobStore,
        digest: str,
        size: int,
        offset: int = 0,
        *,
        is_private: bool = False,
    ) -> None:
        """See `BlobStore.writer`; a private writer's bytes are dropped unless committed."""
        _check_announced(digest, size, store._max_blob_bytes)
        self._store = store
        self._digest = digest
        self._size = size
        self._path = store._partial(digest)
        self._is_private = is_private
        self._file = self._open(offset)
        try:
            self._hash = hashlib.file_digest(self._file, "sha256")
            self._offset = self._file.tell()
            self._unwritten = size - self._offset
            store._reserve(self._unwritten)
        except BaseException:
            self._file.close()
            raise

    @property
    def offset(self) -> int:
        """Bytes received so far, resumed ones included."""
        return self._offset

    def write(self, data: bytes | memoryview) -> None:
        """Add the next bytes.

        Raises:
            BlobTooLarge: more than announced; all of it is dropped.
            StorageFull: the disk is full; what was written before is kept for a resumed stream.
        """
        if self._offset + len(data) > self._size:
            self._drop()
            raise BlobTooLarge(
                f"more than the announced {self._size} bytes came for {self._digest}"
            )
        with self._reported():
            self._file.write(data)
        self._hash.update(data)
        self._offset += len(data)
        self._unwritten -= len(data)
        self._store._release(len(data))

    def commit(self) -> None:
        """Check, synchronise and give the blob its name.

        Raises:
            BlobIncomplete: fewer bytes than announced; kept for a resumed stream.
            DigestMismatch: other bytes than named; dropped.
            StorageFull: the disk is full; kept.
        """
        if self._offset != self._size:
            self.close()
            raise BlobIncomplete(f"{self._offset} of {self._size} bytes came for {self._digest}")
        if self._hash.hexdigest() != _hexadecimal(self._digest):
            self._drop()
            raise DigestMismatch(
                f"the bytes hash to sha256:{self._hash.hexdigest()}, not to {self._digest}; dropped"
            )
        final = self._store._path(self._digest)
        with self._reported():
            os.fchmod(self._file.fileno(), 0o444)
            os.fsync(self._file.fileno())
            final.parent.mkdir(exist_ok=True, mode=0o700)
            self._path.replace(final)
            for folder in (final.parent, final.parent.parent):
                _synchronise(folder)
        self._is_private = False  # it has its name; there is nothing left to drop
        self.close()

    def close(self) -> None:
        """Stop here; what arrived stays for a resumed stream, except a private writer's."""
        if self._is_private:
            self._drop()
        if not self._file.closed:
            self._file.close()  # also lets go of the lock
            self._store._release(self._unwritten)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, offset: int) -> BinaryIO:
        """The locked file, cut to `offset` and positioned at its start, unbuffered."""
        if not self._is_private:
            file = _open_locked(self._path)
            if file is not None:
                present = os.fstat(file.fileno()).st_size
                if offset not in (0, present):
                    file.close()
                    raise BlobBusy(
                        f"{self._digest} ends at {present} here, not at {offset}; resume from there"
                    )
                file.truncate(offset)
                return file
            if offset:
                raise BlobBusy(f"another writer is filling {self._digest}; ask again later")
        # A second writer that begins anew needs nothing of the first: whoever ends first wins.
        self._is_private = True
        self._path = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}")
        file = _open_locked(self._path)
        if file is None:
            raise BlobBusy(f"{self._path.name} is taken; try again")
        return file

    def _drop(self) -> None:
        self._is_private = False
        self._path.unlink(missing_ok=True)
        self.close()

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            if error.errno in _FULL_DISK:
                raise StorageFull(
                    f"the disk is full after {self._offset} bytes of {self._digest}; "
                    "make room and resume"
                ) from error
            raise


def _open_locked(path: Path) -> BinaryIO | None:
    """The file at `path`, created if missing and locked for us; None if another writer has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        # Between open and lock its last owner may have committed or dropped it: then the name
        # belongs to another file, and ours may be a finished blob. Only the named one will do.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return file
        file.close()


def _hexadecimal(digest: str) -> str:
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise BadDigest(f"got {digest!r:.90}; expected sha256: and 64 lower-case hex digits")
    return match[1]


def _check_announced(digest: str, size: int, cap: int) -> None:
    _hexadecimal(digest)
    if not 0 <= size <= cap:
        raise BlobTooLarge(f"{digest} is announced with {size} bytes; a blob has 0 to {cap}")


@contextmanager
def _blob_expected(digest: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise BlobMissing(f"there is no blob {digest} here") from None


def _read_chunks(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end:
            chunk = file.read(min(CHUNK_BYTES, end - start))
            if not chunk:
                raise BlobIncomplete(f"the file ended at {start} of {end}")
            yield chunk
            start += len(chunk)


def _synchronise(folder: Path) -> None:
    """Make renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
