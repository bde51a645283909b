"""A blob on its way into a bucket: it arrives in a local folder, is hashed there, and then put under its name.

Law: a key that is a digest holds bytes that were hashed. What the store did not take stays in the folder, whole, and a
sender that comes again with nothing left to send has it put once more.
"""

import hashlib
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Self

from archipel.blobs.errors import BlobError, StorageFailed, named_errors
from archipel.blobs.layout import hexadecimal
from archipel.blobs.s3_bucket import Bucket, Sent
from archipel.blobs.writer import BlobWriter

AT_ONCE_BYTES = 256 * 2**20
"""A larger file goes up in parts; none has to begin anew for a cut."""
PART_BYTES = 64 * 2**20
"""A store takes ten thousand of them: 625 GiB."""
CHUNK_BYTES = 256 * 1024


class S3Writer:
    """See `port.Writing`."""

    def __init__(
        self, arriving: BlobWriter | None, put: Callable[[], None], ended: Callable[[], None]
    ) -> None:
        """`arriving`: into the folder; None: it is there already. `put`: from the folder. `ended`: once, at the end."""
        self._arriving, self._put, self._ended = arriving, put, ended
        self._is_open = True

    def write(self, data: bytes, /) -> None:
        """Add the next bytes; raises what `BlobWriter.write` does."""
        if self._arriving is not None:
            self._arriving.write(data)

    def commit(self) -> None:
        """Check, and put it into the bucket.

        Raises:
            BlobIncomplete, DigestMismatch: as `BlobWriter.commit`. StorageFull, StorageFailed: the bytes stay here.
        """
        if self._arriving is not None:
            self._arriving.commit()
        self._put()
        self.close()

    def close(self) -> None:
        """Stop here; what arrived stays for a resumed stream."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            if self._arriving is not None:
                self._arriving.close()
        finally:
            self._ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def put_file(bucket: Bucket, key: str, digest: str, path: Path) -> None:
    """Put the file of a blob that was hashed.

    Raises:
        StorageFull, StorageFailed: from the store, or the disk.
    """
    with named_errors(f"cannot read {path.name}"), path.open("rb", buffering=0) as file:
        size = path.stat().st_size
        if size > AT_ONCE_BYTES:
            _put_parts(bucket, key, file, size)
        else:
            bucket.put(key, Sent(_part(file, 0, size), size, hexadecimal(digest)))


def _part(file: FileIO, start: int, stop: int) -> Callable[[], Iterator[bytes]]:
    """Bytes [start, stop) of an open file, from the beginning for each attempt."""

    def read() -> Iterator[bytes]:
        file.seek(start)
        left = stop - start
        while left > 0:
            data = file.read(min(CHUNK_BYTES, left))
            if not data:
                raise StorageFailed(f"the file ended {left} bytes early")
            left -= len(data)
            yield data

    return read


def _put_parts(bucket: Bucket, key: str, file: FileIO, size: int) -> None:
    """Each part is hashed on its own; the whole was when it came."""
    upload = bucket.begin_parts(key)
    try:
        tags = []
        for number, start in enumerate(range(0, size, PART_BYTES), 1):
            body = _part(file, start, min(start + PART_BYTES, size))
            hasher = hashlib.sha256()
            for data in body():
                hasher.update(data)
            sent = Sent(body, min(PART_BYTES, size - start), hasher.hexdigest())
            tags.append(bucket.put_part(key, upload, number, sent))
        bucket.end_parts(key, upload, tags)
    except BaseException:
        _give_up(bucket, key, upload)
        raise


def _give_up(bucket: Bucket, key: str, upload: str) -> None:
    try:
        bucket.delete(key, {"uploadId": upload})
    except BlobError:
        return  # a sweep ends it later
