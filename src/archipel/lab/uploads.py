"""Uploads for open leases: how much each was permitted, and what nobody wants any more.

Law: bytes that came for a lease which ended without an accepted answer are given back to the disk, unless
they were here before, another open lease offered them as well, a record names them, or an operator sends
them. Whoever offers a blob first does not own it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from archipel.lab import refusals
from archipel.records.weight_parts import MAX_PARTS

MAX_OFFERS_PER_LEASE = 256
"""Different blobs; no honest answer names so many."""
MAX_OFFERS_IN_PARTS = 3 * MAX_PARTS + MAX_OFFERS_PER_LEASE
"""Of a trusted role, which publishes versions in parts: a manifest, an anchor and a delta of each, and the rest."""
OFFERS = {False: MAX_OFFERS_PER_LEASE, True: MAX_OFFERS_IN_PARTS}
"""By whether the work is a trusted role's."""
MAX_STREAMS_PER_LEASE = 4
"""Uploads at the same time: each keeps room on the disk for all that it announced."""
MAX_LASTING = 65_536
"""Operators' blobs that are remembered."""


@dataclass(frozen=True, slots=True)
class Permit:
    """An upload that may start."""

    is_trusted: bool
    left_s: float | None = None
    """Until its lease ends, and with it the use of these bytes; None for an operator's."""


class Uploads:
    """What was offered for each open lease."""

    def __init__(self, is_here: Callable[[str], bool]) -> None:
        self._is_here = is_here
        self._sizes: dict[str, dict[str, int]] = {}
        """Work -> digest -> size."""
        self._ours: dict[str, int] = {}
        """Digest -> open leases that offered it, for blobs that were not here before."""
        self._lasting: OrderedDict[str, None] = OrderedDict()
        """What operators offered last: a run that is yet to be opened will name it."""
        self._streams: dict[str, int] = {}

    def others(self, work: str, digest: str) -> int:
        """Bytes of the other blobs that were offered for this lease."""
        sizes = self._sizes.get(work, {})
        return sum(size for other, size in sizes.items() if other != digest)

    def note(self, work: str, digest: str, size: int, most: int = MAX_OFFERS_PER_LEASE) -> None:
        """An upload is about to start; `most`: blobs that the lease may offer.

        Raises:
            TooLarge: of more blobs than any answer to this lease can name.
        """
        sizes = self._sizes.setdefault(work, {})
        if digest not in sizes and len(sizes) >= most:
            raise refusals.TooLarge(
                f"{len(sizes)} blobs were offered for {work} already; at most that many are taken"
            )
        is_new = digest in self._ours or not self._is_here(digest)
        if digest not in sizes and digest not in self._lasting and is_new:
            self._ours[digest] = self._ours.get(digest, 0) + 1
        sizes[digest] = size

    def note_lasting(self, digest: str) -> None:
        """An operator's upload is about to start."""
        self._ours.pop(digest, None)
        self._lasting[digest] = None
        self._lasting.move_to_end(digest)
        if len(self._lasting) > MAX_LASTING:
            self._lasting.popitem(last=False)

    def named(self, digests: Iterable[str]) -> None:
        """A record names them: no lease's end takes them away."""
        for digest in digests:
            self._ours.pop(digest, None)
            self._lasting.pop(digest, None)

    def digests(self) -> set[str]:
        """Everything that an open lease, or a run yet to be opened, may still name."""
        leased = {digest for sizes in self._sizes.values() for digest in sizes}
        return leased | self._lasting.keys()

    def ended(self, work: str) -> list[str]:
        """The lease is over; blobs to discard: those that no record names and nobody else offered."""
        unwanted = []
        for digest in self._sizes.pop(work, {}):
            left = self._ours.pop(digest, 0) - 1
            if left > 0:
                self._ours[digest] = left
            elif left == 0:
                unwanted.append(digest)
        return unwanted

    @contextmanager
    def streaming(self, work: str | None) -> Iterator[None]:
        """While the bytes of one upload come.

        Raises:
            Busy: too many of this lease's are on their way.
        """
        self.begin(work)
        try:
            yield
        finally:
            self.end(work)

    def begin(self, work: str | None) -> None:
        """The bytes of one more upload come from now on, until `end`. Raises Busy, as `streaming`."""
        if work is None:
            return
        if self._streams.get(work, 0) >= MAX_STREAMS_PER_LEASE:
            raise refusals.Busy(f"{MAX_STREAMS_PER_LEASE} uploads for {work} are under way already")
        self._streams[work] = self._streams.get(work, 0) + 1

    def end(self, work: str | None) -> None:
        """They came, or will not."""
        if work is None:
            return
        self._streams[work] -= 1
        if not self._streams[work]:
            del self._streams[work]
