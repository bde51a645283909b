"""The port for blobs, and the local folder that implements it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Protocol

from archipel.blobs.errors import BlobIncomplete, BlobMissing, BlobTooLarge, DigestMismatch
from archipel.blobs.layout import Layout, Quota, hexadecimal
from archipel.blobs.writer import BlobWriter, remove_abandoned
from archipel.records.canonical import sha256_digest

MAX_BLOB_BYTES = 64 * 2**30
"""Default cap on one blob."""
MAX_STORE_BYTES = 512 * 2**30
"""Default quota of a store, partial blobs included."""
CHUNK_BYTES = 2**20


class Blobs(Protocol):
    """What every store of blobs can do. Digests are `sha256:` and 64 hexadecimal digits."""

    def exists(self, digest: str) -> bool:
        """Whether the whole blob is here."""

    def size(self, digest: str) -> int:
        """Bytes of the blob; raises BlobMissing."""

    def put_bytes(self, data: bytes) -> str:
        """Keep `data`; return its digest."""

    def read_bytes(self, digest: str, max_bytes: int) -> bytes:
        """The whole blob, hashed again."""

    def chunks(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Bytes [start, stop), for whoever hashes what it receives."""


class BlobStore:
    """Blobs in the folder `root`, made if missing. Safe for several threads and processes."""

    def __init__(
        self,
        root: Path,
        max_blob_bytes: int = MAX_BLOB_BYTES,
        quota_bytes: int = MAX_STORE_BYTES,
    ) -> None:
        self._layout = Layout(root)
        remove_abandoned(self._layout.partials)
        self._max_blob_bytes = max_blob_bytes
        self._quota = Quota(quota_bytes, self._layout)

    def exists(self, digest: str) -> bool:
        """Whether the whole blob is here."""
        return self._layout.final(digest).is_file()

    def size(self, digest: str) -> int:
        """Bytes of the blob; raises BlobMissing."""
        with _blob_expected(digest):
            return self._layout.final(digest).stat().st_size

    def path(self, digest: str) -> Path:
        """The blob's file, to be read only; raises BlobMissing."""
        self.size(digest)
        return self._layout.final(digest)

    def digests(self) -> list[str]:
        """Every whole blob here, sorted."""
        return self._layout.digests()

    def used_bytes(self) -> int:
        """Bytes on the disk now, partial blobs included."""
        return self._layout.used_bytes()

    def put_bytes(self, data: bytes) -> str:
        """Keep `data`; return its digest.

        Raises:
            BlobTooLarge: over the cap. StorageFull: no room; nothing is left behind.
        """
        digest = sha256_digest(data)
        if not self.exists(digest):
            self._check_size(digest, len(data))
            with BlobWriter(self._layout, self._quota, digest, len(data), offset=None) as writer:
                writer.write(data)
                writer.commit()
        return digest

    def writer(self, digest: str, size: int, offset: int = 0) -> BlobWriter:
        """A stream for a blob of `size` bytes, from `offset` on.

        Args:
            digest: what the bytes must hash to.
            size: bytes of the whole blob as announced; more is refused, fewer is incomplete.
            offset: 0 to begin anew, or `partial_offset(digest)` to go on.

        Raises:
            BadDigest: no digest. BlobTooLarge: announced over the cap. StorageFull: no room in the
            quota. BlobBusy: the partial blob does not end at `offset`, or is being written.
        """
        self._check_size(digest, size)
        return BlobWriter(self._layout, self._quota, digest, size, offset=offset)

    def partial_offset(self, digest: str) -> int:
        """How many bytes of an interrupted blob are here: a resumed stream starts there."""
        try:
            return self._layout.partial(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def discard_partial(self, digest: str) -> None:
        """Forget an interrupted blob and give its bytes back."""
        self._layout.partial(digest).unlink(missing_ok=True)

    def open(self, digest: str) -> FileIO:
        """The blob as a file, for whoever hashes what it reads; raises BlobMissing."""
        with _blob_expected(digest):
            return FileIO(self._layout.final(digest))

    def chunks(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Bytes [start, stop), at most CHUNK_BYTES at a time: the answer to a range request.

        Raises:
            BlobMissing: there is none. ValueError: the range is not inside the blob.
        """
        size = self.size(digest)
        end = size if stop is None else stop
        if not 0 <= start <= end <= size:
            raise ValueError(f"range {start} to {end} is not inside a blob of {size} bytes")
        return _read_chunks(self.open(digest), start, end)

    def read_bytes(self, digest: str, max_bytes: int) -> bytes:
        """The whole blob, hashed again.

        Raises:
            BlobMissing: there is none. BlobTooLarge: over `max_bytes`.
            DigestMismatch: it rotted on the disk; it is removed.
        """
        if self.size(digest) > max_bytes:
            raise BlobTooLarge(f"{digest} has {self.size(digest)} bytes; the limit is {max_bytes}")
        data = b"".join(self.chunks(digest))
        if sha256_digest(data) != digest:
            self.delete(digest)
            raise DigestMismatch(f"{digest} rotted on the disk; it was removed, fetch it again")
        return data

    def delete(self, digest: str) -> None:
        """Remove the blob if it is here."""
        self._layout.final(digest).unlink(missing_ok=True)

    def verify_all(self) -> list[str]:
        """Hash every blob; remove those that rotted and return their digests."""
        rotten = []
        for digest in self.digests():
            with suppress(BlobMissing), self.open(digest) as file:  # else deleted meanwhile
                if hashlib.file_digest(file, "sha256").hexdigest() != hexadecimal(digest):
                    self.delete(digest)
                    rotten.append(digest)
        return rotten

    def _check_size(self, digest: str, size: int) -> None:
        if not 0 <= size <= self._max_blob_bytes:
            raise BlobTooLarge(f"{digest} has {size} bytes; a blob has 0 to {self._max_blob_bytes}")


@contextmanager
def _blob_expected(digest: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise BlobMissing(f"there is no blob {digest} here") from None


def _read_chunks(file: FileIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end:
            chunk = file.read(min(CHUNK_BYTES, end - start))
            if not chunk:
                raise BlobIncomplete(f"the file ended at {start} of {end} bytes")
            yield chunk
            start += len(chunk)
