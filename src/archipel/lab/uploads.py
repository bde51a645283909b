"""Uploads for open leases: how much each was permitted, and what nobody wants any more.

Law: bytes that came for a lease which ended without an accepted answer are given back to the disk, unless
they were here before or another lease offered them as well.
"""

from collections.abc import Callable, Iterable


class Uploads:
    """What was offered for each open lease."""

    def __init__(self, is_here: Callable[[str], bool]) -> None:
        self._is_here = is_here
        self._sizes: dict[str, dict[str, int]] = {}
        """Work -> digest -> size."""
        self._ours: dict[str, int] = {}
        """Digest -> open leases that offered it, for blobs that were not here before."""

    def others(self, work: str, digest: str) -> int:
        """Bytes of the other blobs that were offered for this lease."""
        sizes = self._sizes.get(work, {})
        return sum(size for other, size in sizes.items() if other != digest)

    def note(self, work: str, digest: str, size: int) -> None:
        """An upload is about to start."""
        sizes = self._sizes.setdefault(work, {})
        if digest not in sizes and (digest in self._ours or not self._is_here(digest)):
            self._ours[digest] = self._ours.get(digest, 0) + 1
        sizes[digest] = size

    def digests(self) -> set[str]:
        """Everything that an open lease may still name."""
        return {digest for sizes in self._sizes.values() for digest in sizes}

    def ended(self, work: str, kept: Iterable[str]) -> list[str]:
        """The lease is over; blobs to discard: those that are not `kept` and that nobody else offered."""
        unwanted = []
        wanted = set(kept)
        for digest in self._sizes.pop(work, {}):
            left = self._ours.pop(digest, 0) - 1
            if left > 0:
                self._ours[digest] = left
            elif left == 0 and digest not in wanted:
                unwanted.append(digest)
        return unwanted
