"""Uploads that go straight into a bucket: under `<prefix>incoming/`, until the lab has seen what they are.

Law: a key that is a digest holds bytes that were hashed: by the store, where a trial shows that it refuses bytes of
another checksum than the request says, else by this process, which then reads them once. What is looked at cannot be
changed any more by whoever sent it. No landing outlives its time, and its room is kept for so long alone.
"""

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from archipel.blobs.errors import (
    BlobBusy,
    BlobError,
    BlobIncomplete,
    BlobMissing,
    BlobTooLarge,
    DigestMismatch,
    StorageFailed,
)
from archipel.blobs.landing import Landing, LandingPart
from archipel.blobs.layout import hexadecimal
from archipel.blobs.s3_bucket import Sent, sent_of
from archipel.blobs.s3_direct import DirectBucket, Request, checksum_of, is_tag
from archipel.blobs.s3_index import REMOVAL_LIMIT_S, Index
from archipel.blobs.store import MAX_BLOB_BYTES

INCOMING = "incoming/"
"""Below the prefix: `incoming/<hex>.<random>`. What is old there, a sweep removes; a rule of the bucket may, too."""
WHOLE_BYTES = 5 * 2**30
"""A store takes no more by one PUT; a larger blob lands in parts."""
PART_BYTES = 64 * 2**20
MAX_PARTS = 256
"""Of one landing: larger blobs have larger parts."""
MAX_LIFE_S = 6 * 3600.0

logger = logging.getLogger("archipel.lab")


@dataclass(frozen=True, slots=True)
class _Open:
    """A landing, from inside."""

    digest: str
    size: int
    key: str
    upload: str
    """Of one in parts; empty: by one PUT, whose bytes the store hashes."""
    num_parts: int
    until_s: float


class Landings:
    """See `landing.Direct`; safe for several threads."""

    def __init__(
        self,
        bucket: DirectBucket,
        index: Index,
        key_of: Callable[[str], str],
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """key_of: where the blob of a digest lies."""
        self._bucket, self._index, self._key_of, self._clock_s = bucket, index, key_of, clock_s
        self._prefix = bucket.place.prefix + INCOMING
        self._open: dict[str, _Open] = {}
        self._landing: set[str] = set()
        self._changing = threading.Lock()
        self._trying = threading.Lock()
        self._refuses: bool | None = None

    def address(self, digest: str, life_s: int) -> str:
        """Where anybody may fetch a blob by GET for so long; asks nobody."""
        return self._bucket.address(self._key_of(digest), Request("GET"), life_s)

    def open(self, digest: str, size: int, life_s: float, *, privileged: bool = False) -> Landing:
        """A landing; see `landing.Direct`. Raises BlobTooLarge besides: no blob is so large."""
        name = hexadecimal(digest)
        if not 0 <= size <= MAX_BLOB_BYTES:
            raise BlobTooLarge(f"{digest} has {size} bytes; a blob has 0 to {MAX_BLOB_BYTES}")
        self.expire()
        self._index.announce(size, privileged=privileged)
        try:
            is_hashed = self._is_refusing() and size <= WHOLE_BYTES
            token = secrets.token_hex(16)
            key = f"{self._prefix}{name}.{token}"
            step = size if is_hashed else max(PART_BYTES, -(-size // MAX_PARTS))
            spans = [
                (start, min(start + step, size)) for start in range(0, max(size, 1), step or 1)
            ]
            upload = "" if is_hashed else self._bucket.begin_parts(key)
            life_s = max(1.0, min(life_s, MAX_LIFE_S))
            made = _Open(digest, size, key, upload, len(spans), self._clock_s() + life_s)
            parts = tuple(
                LandingPart(self._url(made, number, span, int(life_s)), *span)
                for number, span in enumerate(spans, 1)
            )
        except BaseException:
            self._index.release(size)
            raise
        with self._changing:
            self._open[token] = made
        return Landing(token, parts, is_hashed, made.until_s)

    def land(self, name: str, tags: tuple[str, ...]) -> None:
        """Check what is there, and give it its name; see `landing.Direct`."""
        self.expire()
        with self._held(name) as made:
            try:
                with self._index.coming(made.digest, REMOVAL_LIMIT_S):
                    self._put_together(made, tags)
                    self._look_at(made)
                    self._bucket.copy(made.key, self._key_of(made.digest), made.size)
                    self._index.arrived(made.digest, made.size, self._clock_s())
            except (DigestMismatch, BlobIncomplete, BlobMissing):
                self._end(name)
                raise
        self._end(name)

    def abandon(self, name: str) -> None:
        """It will not be used any more, if it is open and not landing just now."""
        with self._changing:
            if name in self._landing or name not in self._open:
                return
        self._end(name)

    def expire(self) -> None:
        """Landings whose time is over have ended: their room is free, and what lies there goes with a sweep."""
        now_s = self._clock_s()
        with self._changing:
            over = [
                name
                for name, made in self._open.items()
                if made.until_s <= now_s and name not in self._landing
            ]
            for name in over:
                self._index.release(self._open.pop(name).size)

    def is_awaited(self, key: str) -> bool:
        """Whether an open landing puts its bytes under this key: no sweep removes it."""
        with self._changing:
            return any(made.key == key for made in self._open.values())

    def _url(self, made: _Open, number: int, span: tuple[int, int], life_s: int) -> str:
        headers = {"content-length": str(span[1] - span[0])}
        if not made.upload:
            headers |= checksum_of(hexadecimal(made.digest))
            return self._bucket.address(made.key, Request("PUT", {}, headers), life_s)
        query = {"partNumber": str(number), "uploadId": made.upload}
        return self._bucket.address(made.key, Request("PUT", query, headers), life_s)

    @contextmanager
    def _held(self, name: str) -> Iterator[_Open]:
        """An open landing that does not end meanwhile. Raises BlobMissing, BlobBusy."""
        with self._changing:
            made = self._open.get(name)
            if made is None:
                raise BlobMissing(f"there is no landing {name!a:.40} here, or its time is over")
            if name in self._landing:
                raise BlobBusy(f"{made.digest} lands already")
            self._landing.add(name)
        try:
            yield made
        finally:
            with self._changing:
                self._landing.discard(name)

    def _end(self, name: str) -> None:
        with self._changing:
            made = self._open.pop(name, None)
        if made is None:
            return
        self._index.release(made.size)
        with suppress(BlobError):  # a sweep removes it later
            self._bucket.delete(made.key)
            if made.upload:
                self._bucket.give_up(made.key, made.upload)

    def _put_together(self, made: _Open, tags: tuple[str, ...]) -> None:
        """From now on nobody but this process can change what lies there."""
        if not made.upload:
            return
        if len(tags) != made.num_parts or not all(map(is_tag, tags)):
            raise BlobIncomplete(
                f"{len(tags)} of {made.num_parts} parts of {made.digest} are named"
            )
        try:
            self._bucket.end_parts(made.key, made.upload, list(tags))
        except BlobMissing:  # no such upload: it was put together before, or is not there at all
            self._bucket.head(made.key)

    def _look_at(self, made: _Open) -> None:
        head = self._bucket.head(made.key)
        if head.size != made.size:
            raise DigestMismatch(f"{head.size} bytes of {made.digest} landed, not {made.size}")
        # By one PUT, its sender may put it again until the address is over: then only the store's word holds,
        # for it takes no other bytes there.
        found = head.sha256 if not made.upload else self._hashed(made)
        if found != hexadecimal(made.digest):
            raise DigestMismatch(
                f"expected {made.digest}, and what landed is {f'sha256:{found}' if found else 'not hashed by the store'}"
            )

    def _hashed(self, made: _Open) -> str:
        hasher, num_bytes = hashlib.sha256(), 0
        with self._bucket.reading(made.key, 0, made.size) as chunks:
            for data in chunks:
                hasher.update(data)
                num_bytes += len(data)
                if num_bytes > made.size:
                    break
        if num_bytes != made.size:
            raise StorageFailed(f"{num_bytes} of {made.size} bytes of {made.digest} could be read")
        return hasher.hexdigest()

    def _is_refusing(self) -> bool:
        """Whether the store takes no bytes of another checksum than the request says: tried once."""
        with self._trying:
            if self._refuses is None:
                self._refuses = _refuses(self._bucket, f"{self._prefix}trial.")
                logger.info("landings", extra={"hashed_by": "store" if self._refuses else "lab"})
            return self._refuses


def _refuses(bucket: DirectBucket, prefix: str) -> bool:
    """Put one object of the right checksum, whose checksum it must tell, and one of another, which must not be there."""
    key, body = f"{prefix}{secrets.token_hex(8)}", b"archipel"
    sent = sent_of(body)
    right = Sent(body, sent.size, sent.sha256, checksum_of(sent.sha256))
    wrong = Sent(body, sent.size, sent.sha256, checksum_of("00" * 32))
    bucket.put(key, right)
    try:
        tells = bucket.head(key).sha256 == sent.sha256
    finally:
        bucket.delete(key)
    if not tells:
        return False
    with suppress(StorageFailed):
        bucket.put(key, wrong)
    try:
        bucket.head(key)
    except BlobMissing:
        return True
    bucket.delete(key)
    return False
