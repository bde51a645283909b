"""Blobs in a bucket of an S3-compatible server, by the port that a lab uses.

Keys: `<prefix>ab/cdef...` for the blob sha256:abcdef..., as files lie in the local folder. Law: a key holds bytes that were hashed before it was made; what is read is
hashed by who reads it. One process owns a prefix. What comes in streams passes through a folder on this machine, so
it resumes as with the local store; removing is a sweep's alone.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import ClassVar

from archipel.blobs.account import Usage
from archipel.blobs.errors import BlobError, BlobMissing, BlobTooLarge, DigestMismatch
from archipel.blobs.layout import hexadecimal
from archipel.blobs.s3_bucket import Bucket, sent_of
from archipel.blobs.s3_direct import DirectBucket
from archipel.blobs.s3_index import REMOVAL_LIMIT_S, Index
from archipel.blobs.s3_landings import INCOMING, Landings
from archipel.blobs.s3_listing import Listed
from archipel.blobs.s3_reading import S3File, key_of
from archipel.blobs.s3_writing import S3Writer, put_file
from archipel.blobs.store import CHUNK_BYTES, MAX_BLOB_BYTES, MAX_STORE_BYTES, BlobStore
from archipel.blobs.sweep import Live, SweepReport
from archipel.records.canonical import sha256_digest

_NAME = re.compile(r"([0-9a-f]{2})/([0-9a-f]{62})", re.ASCII)


class S3Blobs:
    """See the module's text. Safe for several threads.

    Every method but `exists`, `keep`, `size`, `used`, `room` and `partial_offset` may raise StorageFailed: the store
    is down, or refuses.
    """

    is_near: ClassVar[bool] = False

    def __init__(
        self,
        bucket: Bucket,
        arriving: BlobStore,
        quota_bytes: int = MAX_STORE_BYTES,
        reserve_bytes: int = 0,
        *,
        clock_s: Callable[[], float] = time.time,
        as_young_s: float = 0.0,
    ) -> None:
        """List what is there: a request for each thousand blobs.

        Args:
            bucket: where they lie.
            arriving: a folder for what is on its way, which does not last.
            quota_bytes: cap on the bucket's part of ours.
            reserve_bytes: the part of the quota that only privileged uploads may use.
            clock_s: Unix time.
            as_young_s: everything that is there counts as offered then; a store keeps no times of offers, and what was
                offered before this process began may be named yet. 0: as old as the store says.

        Raises:
            StorageFailed: the store is down, or refuses. ValueError: the reserve exceeds the quota.
        """
        self._bucket, self._arriving, self._clock_s = bucket, arriving, clock_s
        self._index = Index(quota_bytes, reserve_bytes)
        self._prefix = bucket.place.prefix
        reached = bucket if isinstance(bucket, DirectBucket) and bucket.place.reached else None
        self._landings = (
            None if reached is None else Landings(reached, self._index, self._key, clock_s)
        )
        listed = (
            (digest, each.size, max(each.modified_s, as_young_s)) for digest, each in self._listed()
        )
        self._index.fill(listed)

    @property
    def direct(self) -> Landings | None:
        """How bytes pass by the lab; None: nodes do not reach the store."""
        return self._landings

    def close(self) -> None:
        """Drop the connections."""
        self._bucket.close()

    def exists(self, digest: str) -> bool:
        """Whether the whole blob is here."""
        with suppress(BlobMissing):
            return self.size(digest) >= 0
        return False

    def keep(self, digest: str) -> bool:
        """Whether the whole blob is here; if so, it is as young as one that was put just now."""
        return self._index.touch(digest, self._clock_s())

    def size(self, digest: str) -> int:
        """Bytes of the blob; raises BlobMissing."""
        return self._index.size(digest)

    def digests(self) -> list[str]:
        """Every whole blob here, sorted."""
        return self._index.digests()

    def used(self) -> Usage:
        """Bytes in the bucket, and of blobs that are arriving."""
        return Usage(self._index.used(), self._arriving.used().total_bytes)

    def room(self, *, privileged: bool = False) -> int:
        """Bytes that may come now: what quota and reserve leave."""
        return self._index.room(privileged=privileged)

    def put_bytes(self, data: bytes, *, privileged: bool = False) -> str:
        """Keep `data`; return its digest.

        Raises:
            StorageFull: no room.
        """
        digest = sha256_digest(data)
        if not self.keep(digest):
            with (
                self._index.announced(len(data), privileged=privileged),
                self._index.coming(digest, REMOVAL_LIMIT_S),
            ):
                self._bucket.put(self._key(digest), sent_of(data))
                self._index.arrived(digest, len(data), self._clock_s())
        return digest

    def writer(
        self, digest: str, size: int, offset: int = 0, *, privileged: bool = False
    ) -> S3Writer:
        """A stream for a blob of `size` bytes, from `offset` on; raises what `BlobStore.writer` does."""
        hexadecimal(digest)
        if not 0 <= size <= MAX_BLOB_BYTES:
            raise BlobTooLarge(f"{digest} has {size} bytes; a blob has 0 to {MAX_BLOB_BYTES}")
        self._index.announce(size, privileged=privileged)
        try:
            is_whole = self._arriving.exists(digest)
            arriving = None if is_whole else self._arriving.writer(digest, size, offset)
        except BaseException:
            self._index.release(size)
            raise
        return S3Writer(arriving, partial(self._put, digest), partial(self._index.release, size))

    def partial_offset(self, digest: str) -> int:
        """How many bytes of an interrupted blob are on this machine: a resumed stream starts there."""
        with suppress(BlobMissing):
            return self._arriving.size(digest)
        return self._arriving.partial_offset(digest)

    def discard(self, digest: str) -> int:
        """It does not count as here from now on; the next sweep removes it. Returns the bytes freed."""
        freed = self._index.forget(digest)
        return freed + self._arriving.discard(digest)

    def open(self, digest: str) -> S3File:
        """The blob as a file, for whoever hashes what it reads; raises BlobMissing. Asks nothing of the store yet."""
        return S3File(self._bucket, self._key(digest), self.size(digest))

    def chunks(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Bytes [start, stop), at most CHUNK_BYTES at a time.

        Raises:
            BlobMissing: there is none. ValueError: the range is not inside the blob.
        """
        size = self.size(digest)
        end = size if stop is None else stop
        if not 0 <= start <= end <= size:
            raise ValueError(f"range {start} to {end} is not inside a blob of {size} bytes")
        return self._chunks(digest, start, end)

    def read_bytes(self, digest: str, max_bytes: int) -> bytes:
        """The whole blob, hashed again.

        Raises:
            BlobMissing: there is none. BlobTooLarge: over `max_bytes`.
            DigestMismatch: the store gave other bytes; it does not count as here any more.
        """
        size = self.size(digest)
        if size > max_bytes:
            raise BlobTooLarge(f"{digest} has {size} bytes; the limit is {max_bytes}")
        data = b"".join(self.chunks(digest))
        if sha256_digest(data) != digest:
            self.discard(digest)
            raise DigestMismatch(f"{digest} rotted in the store; it counts as gone, fetch it again")
        return data

    def sweep(
        self, live: Live, *, now_s: float, older_than_s: float, idle_s: float, dry: bool = False
    ) -> SweepReport:
        """Remove what nobody needs any more; see `BlobStore.sweep`. Lists the bucket: belongs into a thread."""
        is_live = live if callable(live) else live.__contains__
        before_s, idle_before_s = now_s - older_than_s, now_s - idle_s
        sizes = []
        for digest, each in self._listed():
            is_abandoned = self._index.is_unknown(digest) and each.modified_s < idle_before_s
            is_old = self._index.is_older(digest, before_s) and not is_live(digest)
            if (is_abandoned or is_old) and self._remove(digest, before_s, dry=dry):
                sizes.append(each.size)
        left = self._sweep_incoming(idle_before_s, dry=dry)
        # What arrived whole is of use only until its sender comes again.
        ages = {"now_s": now_s, "older_than_s": idle_s, "idle_s": idle_s}
        here = self._arriving.sweep((), **ages, dry=dry)
        num_partial = here.num_whole + here.num_partial + len(left)
        return SweepReport(len(sizes), num_partial, sum(sizes) + sum(left) + here.num_bytes)

    def _sweep_incoming(self, before_s: float, *, dry: bool) -> list[int]:
        """What landed, or began to come, and is no open landing's; bytes of each object."""
        landings = self._landings
        if landings is not None:
            landings.expire()

        def is_left(each: Listed) -> bool:
            return each.modified_s < before_s and not (landings and landings.is_awaited(each.key))

        left = [each for each in self._bucket.listed(self._prefix + INCOMING) if is_left(each)]
        for each in () if dry else left:
            self._bucket.delete(each.key)
        for each in self._bucket.uploads(self._prefix):
            if is_left(each) and not dry:
                self._bucket.delete(each.key, {"uploadId": each.upload})
        return [each.size for each in left]

    def _remove(self, digest: str, before_s: float, *, dry: bool) -> bool:
        if dry:
            return True
        with self._index.removing(digest, before_s) as may_go:
            if may_go:
                self._bucket.delete(self._key(digest))
        return may_go

    def _put(self, digest: str) -> None:
        """From the folder into the bucket."""
        size = self._arriving.size(digest)
        with self._index.coming(digest, REMOVAL_LIMIT_S):
            put_file(self._bucket, self._key(digest), digest, self._arriving.path(digest))
            self._index.arrived(digest, size, self._clock_s())
        with suppress(BlobError):  # a sweep finds it later
            self._arriving.discard(digest)

    def _chunks(self, digest: str, start: int, end: int) -> Iterator[bytes]:
        with self.open(digest) as file:
            file.seek(start)
            while start < end:
                data = file.read(min(CHUNK_BYTES, end - start))
                start += len(data)
                yield data

    def _listed(self) -> Iterator[tuple[str, Listed]]:
        """Digest and object of what is under our keys; other objects are somebody else's."""
        for each in self._bucket.listed(self._prefix):
            name = _NAME.fullmatch(each.key.removeprefix(self._prefix))
            if name is not None:
                yield f"sha256:{name[1]}{name[2]}", each

    def _key(self, digest: str) -> str:
        return key_of(self._prefix, digest)
