"""The node's blobs are a cache: what has not been used for longest goes first when it grows too large."""

from collections.abc import Iterable

from archipel.blobs import BlobStore


class Cache:
    """Keeps a store of fetched blobs below a size, as far as the work at hand allows."""

    def __init__(self, store: BlobStore, limit_bytes: int) -> None:
        self._store = store
        self._limit_bytes = limit_bytes
        self._sizes = {digest: store.size(digest) for digest in store.digests()}
        """Digest -> bytes, least recently used first."""
        self._needed: frozenset[str] = frozenset()

    def use(self, digests: Iterable[str]) -> None:
        """The work at hand needs these, and no others."""
        self._needed = frozenset(digests)
        for digest in self._needed:
            self._sizes.pop(digest, None)
            if self._store.exists(digest):
                self._sizes[digest] = self._store.size(digest)
        self._shrink(self._limit_bytes)

    def clear(self) -> None:
        """Make all the room there is: the disk is full. Everything can be fetched again."""
        self._needed = frozenset()
        self._shrink(0)

    def _shrink(self, limit_bytes: int) -> None:
        total = sum(self._sizes.values())
        for digest, size in list(self._sizes.items()):
            if total <= limit_bytes:
                return
            if digest not in self._needed:
                self._store.discard(digest)
                del self._sizes[digest]
                total -= size
