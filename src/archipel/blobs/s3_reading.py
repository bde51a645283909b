"""A blob of a bucket that is open: read forwards, from where it was sought to (`S3File`), or whole (`BucketReader`).

Law: one request brings all that is read; the store is asked again only after another `seek`, or where a stream broke.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Self

from archipel.blobs.errors import BlobIncomplete, BlobTooLarge, DigestMismatch, StorageFailed
from archipel.blobs.layout import hexadecimal
from archipel.blobs.s3_bucket import Bucket
from archipel.records.canonical import sha256_digest

MAX_BREAKS = 3
"""Streams that broke without a single byte more; then the store is down."""


class S3File:
    """See `port.Reading`."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        self._bucket, self._key, self._size = bucket, key, size
        self._at = 0
        self._open = ExitStack()
        self._chunks: Iterator[bytes] | None = None
        self._rest = b""

    def seek(self, offset: int, /) -> int:
        """Where the next bytes begin."""
        self._let_go()
        self._at = offset
        return offset

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes: `size` of them, or what is left; none at the end.

        Raises:
            BlobMissing: it was removed in the store. BlobIncomplete: it is shorter there. StorageFailed: the store is down.
        """
        left = self._size - self._at
        wanted = left if size < 0 else min(size, left)
        parts, came, num_breaks = [], 0, 0
        while came < wanted:
            try:
                data = self._next(wanted - came)
            except StorageFailed:
                self._let_go()
                num_breaks += 1
                if num_breaks >= MAX_BREAKS:
                    raise
                continue
            num_breaks = 0
            parts.append(data)
            came += len(data)
            self._at += len(data)
        return b"".join(parts)

    def close(self) -> None:
        """Let go of the connection."""
        self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _next(self, most: int) -> bytes:
        if self._chunks is None:
            opened = self._bucket.reading(self._key, self._at, self._size)
            self._chunks = self._open.enter_context(opened)
        while not self._rest:
            data = next(self._chunks, None)
            if data is None:
                raise BlobIncomplete(f"{self._key} ended at {self._at} of {self._size} bytes")
            self._rest = data
        data, self._rest = self._rest[:most], self._rest[most:]
        return data

    def _let_go(self) -> None:
        self._rest, self._chunks = b"", None
        self._open.close()


class BucketReader:
    """Blobs that somebody else keeps in a bucket, for a process that reads a few: it lists nothing."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def read_bytes(self, digest: str, max_bytes: int) -> bytes:
        """The whole blob, hashed.

        Raises:
            BlobMissing: there is none. BlobTooLarge: over `max_bytes`. DigestMismatch: the store gave other bytes.
            StorageFailed: the store is down, or refuses.
        """
        key = key_of(self._bucket.place.prefix, digest)
        size = self._bucket.size(key)
        if size > max_bytes:
            raise BlobTooLarge(f"{digest} has {size} bytes; the limit is {max_bytes}")
        with S3File(self._bucket, key, size) as file:
            data = file.read()
        if sha256_digest(data) != digest:
            raise DigestMismatch(f"{digest} rotted in the store; its sender has to send it again")
        return data


def key_of(prefix: str, digest: str) -> str:
    """Where the blob of this digest lies."""
    name = hexadecimal(digest)
    return f"{prefix}{name[:2]}/{name[2:]}"
