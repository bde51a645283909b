"""Which blobs a bucket holds, as one process knows it: no question of a lab's event loop waits for a network.

Law: one process owns a bucket's prefix. A blob counts as here from the moment its bytes are under their name; a
digest that is being removed is nobody's until that has ended, so bytes that come meanwhile are not taken away.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from archipel.blobs.errors import BlobBusy, BlobMissing, StorageFull
from archipel.blobs.layout import hexadecimal

REMOVAL_LIMIT_S = 60.0
"""A blob that is offered while it is being removed waits so long."""


@dataclass(slots=True)
class _Known:
    size: int
    touched_s: float


class Index:
    """Digests, sizes and ages; and what of the quota is left."""

    def __init__(self, quota_bytes: int, reserve_bytes: int) -> None:
        if not 0 <= reserve_bytes <= quota_bytes:
            raise ValueError(
                f"a reserve of {reserve_bytes} bytes is not inside a quota of {quota_bytes}"
            )
        self._quota_bytes, self._reserve_bytes = quota_bytes, reserve_bytes
        self._known: dict[str, _Known] = {}
        self._going: set[str] = set()
        self._coming: Counter[str] = Counter()
        self._bytes = 0
        self._announced = 0
        self._changed = threading.Condition()

    def fill(self, found: Iterable[tuple[str, int, float]]) -> None:
        """Digest, size and age of everything that is there."""
        for digest, size, touched_s in found:
            self.arrived(digest, size, touched_s)

    def size(self, digest: str) -> int:
        """Bytes of a blob; raises BlobMissing."""
        hexadecimal(digest)
        with self._changed:
            known = self._known.get(digest)
        if known is None:
            raise BlobMissing(f"there is no blob {digest} here")
        return known.size

    def touch(self, digest: str, now_s: float) -> bool:
        """Whether it is here; if so, it is as young as a new one."""
        hexadecimal(digest)
        with self._changed:
            known = self._known.get(digest)
            if known is not None:
                known.touched_s = now_s
            return known is not None

    def arrived(self, digest: str, size: int, now_s: float) -> None:
        """Its bytes are under their name."""
        with self._changed:
            before = self._known.get(digest)
            self._bytes += size - (0 if before is None else before.size)
            self._known[digest] = _Known(size, now_s)

    def forget(self, digest: str) -> int:
        """It does not count any more; a sweep removes it. Returns its bytes."""
        with self._changed:
            known = self._known.pop(digest, None)
            size = 0 if known is None else known.size
            self._bytes -= size
            return size

    def digests(self) -> list[str]:
        """Everything that is here, sorted."""
        with self._changed:
            return sorted(self._known)

    def is_older(self, digest: str, before_s: float) -> bool:
        """Whether it is here and was not touched since."""
        with self._changed:
            known = self._known.get(digest)
            return known is not None and known.touched_s < before_s

    def is_unknown(self, digest: str) -> bool:
        """Whether nobody counts on it."""
        with self._changed:
            return digest not in self._known

    @contextmanager
    def coming(self, digest: str, limit_s: float) -> Iterator[None]:
        """While its bytes are put under their name: nobody removes it.

        Raises:
            BlobBusy: it is being removed, and that does not end in `limit_s`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: digest not in self._going, limit_s):
                raise BlobBusy(f"{digest} is being removed as abandoned; try again")
            self._coming[digest] += 1
        try:
            yield
        finally:
            with self._changed:
                self._coming[digest] -= 1
                if not self._coming[digest]:
                    del self._coming[digest]

    @contextmanager
    def removing(self, digest: str, before_s: float) -> Iterator[bool]:
        """While it is removed; false: it was touched since, comes or goes already, and is left alone.

        It counts as gone at once and however this ends: what a failure left there goes with the next sweep.
        """
        with self._changed:
            known = self._known.get(digest)
            is_young = known is not None and known.touched_s >= before_s
            may_go = not is_young and digest not in self._going and digest not in self._coming
            if may_go:
                self._going.add(digest)
                self._bytes -= 0 if known is None else known.size
                self._known.pop(digest, None)
        try:
            yield may_go
        finally:
            if may_go:
                with self._changed:
                    self._going.discard(digest)
                    self._changed.notify_all()

    def used(self) -> int:
        """Bytes of all of it."""
        with self._changed:
            return self._bytes

    def room(self, *, privileged: bool) -> int:
        """Bytes that may still be announced."""
        with self._changed:
            return max(0, self._room(privileged))

    @contextmanager
    def announced(self, num_bytes: int, *, privileged: bool) -> Iterator[None]:
        """While so many bytes come.

        Raises:
            StorageFull: they do not fit.
        """
        self.announce(num_bytes, privileged=privileged)
        try:
            yield
        finally:
            self.release(num_bytes)

    def announce(self, num_bytes: int, *, privileged: bool) -> None:
        """Keep room for bytes to come, until `release`. Raises StorageFull."""
        with self._changed:
            room = self._room(privileged)
            if num_bytes > room:
                raise StorageFull(
                    f"{num_bytes} bytes do not fit: {max(0, room)} are left of the store's quota of "
                    f"{self._quota_bytes}; delete blobs or raise the quota"
                )
            self._announced += num_bytes

    def release(self, num_bytes: int) -> None:
        """They came, or will not come."""
        with self._changed:
            self._announced -= num_bytes

    def _room(self, privileged: bool) -> int:
        kept_back = 0 if privileged else self._reserve_bytes
        return self._quota_bytes - kept_back - self._bytes - self._announced
