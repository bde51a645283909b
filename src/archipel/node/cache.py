"""The node's blobs are a cache: what has not been used for longest goes first when it grows too large.

Transfers that were cut count too. They can be resumed for a while; those of runs that are gone never
will be, so an idle one is removed, and any other when nothing else makes room.
"""

import errno
import time
from collections.abc import Callable, Iterable

from archipel.blobs import BlobStore, StorageFull
from archipel.node.failures import WorkFailure
from archipel.records.fields import Fault

PARTIAL_IDLE_S = 3600.0
"""A transfer that stood still this long is not resumed: leases are shorter."""


class DoesNotFit(WorkFailure):
    """Work that needs more bytes than this machine could hold for it: waiting mends nothing here."""

    fault: Fault | None = "machine"


class Cache:
    """Keeps a store of fetched blobs below a size, as far as the work at hand allows."""

    def __init__(
        self, store: BlobStore, limit_bytes: int, clock_s: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._limit_bytes = limit_bytes
        self._clock_s = clock_s
        self._sizes = {digest: store.size(digest) for digest in store.digests()}
        """Digest -> bytes, least recently used first."""
        self._needed: frozenset[str] = frozenset()
        if store.room() == 0:
            self.clear()

    def use(self, digests: Iterable[str]) -> None:
        """The work at hand needs these, and no others."""
        self._needed = frozenset(digests)
        for digest in self._needed:
            self._sizes.pop(digest, None)
            if self._store.exists(digest):
                self._sizes[digest] = self._store.size(digest)
        self._drop_partials(PARTIAL_IDLE_S)
        self._shrink(self._limit_bytes)

    def give_up(self, error: Exception, needed_bytes: int) -> None:
        """Work could not be prepared because of this disk: make all the room there is for the next try.

        needed_bytes: of all blobs that the work was found to need so far.

        Raises:
            DoesNotFit: so many bytes would not fit into an empty cache either.
        """
        self.clear()
        if not isinstance(error, StorageFull):
            return
        capacity = self._store.capacity()
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EFBIG:
            raise DoesNotFit(str(error)) from error
        if needed_bytes > capacity:
            raise DoesNotFit(
                f"the work needs {needed_bytes} bytes of files at once, and this machine can hold "
                f"{capacity} for it, its cache emptied; give it a larger disk (or quota), or leave this "
                "run to others"
            ) from error

    def clear(self) -> None:
        """Make all the room there is: the disk is full. Everything can be fetched again."""
        self._needed = frozenset()
        self._shrink(0)

    def _shrink(self, limit_bytes: int) -> None:
        total = sum(self._sizes.values()) + self._store.used().partial_bytes
        for digest, size in list(self._sizes.items()):
            if total <= limit_bytes:
                return
            if digest not in self._needed:
                self._store.discard(digest)
                del self._sizes[digest]
                total -= size
        if total > limit_bytes:
            self._drop_partials(0.0)

    def _drop_partials(self, idle_s: float) -> None:
        if self._store.used().partial_bytes:
            self._store.sweep(
                lambda digest: True, now_s=self._clock_s(), older_than_s=0.0, idle_s=idle_s
            )
