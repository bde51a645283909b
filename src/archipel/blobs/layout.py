"""Which file of a store is which blob, and how many bytes still fit.

`ab/cdef...` is the blob sha256:abcdef..., mode 0444; `partial/<hex>` is one still arriving, and
`partial/<hex>.<random>` one that cannot be resumed.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from archipel.blobs.errors import BadDigest, StorageFull

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_FOLDER = re.compile(r"[0-9a-f]{2}")


def hexadecimal(digest: str) -> str:
    """The 64 digits of `sha256:<digits>`.

    Raises:
        BadDigest: any other text, so that no name ever leads out of the store.
    """
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise BadDigest(f"got {digest!r:.90}; expected sha256: and 64 lower-case hex digits")
    return match[1]


class Layout:
    """The files of one store below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.partials = root / "partial"
        self.partials.mkdir(parents=True, exist_ok=True, mode=0o700)

    def final(self, digest: str) -> Path:
        """Where the whole blob lies."""
        name = hexadecimal(digest)
        return self.root / name[:2] / name[2:]

    def partial(self, digest: str) -> Path:
        """Where an interrupted blob waits to be resumed."""
        return self.partials / hexadecimal(digest)

    def digests(self) -> list[str]:
        """Every whole blob, sorted."""
        files = (path for path, _ in self._files() if path.parent != self.partials)
        return sorted(f"sha256:{path.parent.name}{path.name}" for path in files)

    def used_bytes(self) -> int:
        """Bytes of all files, partial ones included."""
        return sum(size for _, size in self._files())

    def _files(self) -> Iterator[tuple[Path, int]]:
        for folder in self.root.iterdir():
            if folder == self.partials or _FOLDER.fullmatch(folder.name):
                for path in folder.iterdir():
                    with suppress(FileNotFoundError):  # moved or removed by another writer
                        yield path, path.stat().st_size


class Quota:
    """How many bytes a store may hold, counting what its writers have announced."""

    def __init__(self, limit_bytes: int, layout: Layout) -> None:
        self._limit_bytes = limit_bytes
        self._layout = layout
        self._lock = threading.Lock()
        self._announced = 0
        """Bytes that writers of this process will still write."""
        self._upper_bound = layout.used_bytes()
        """At least what is used and announced; only a new look at the disk lowers it."""

    def reserve(self, num_bytes: int) -> None:
        """Announce bytes to come.

        Raises:
            StorageFull: they do not fit.
        """
        with self._lock:
            if self._upper_bound + num_bytes > self._limit_bytes:
                self._upper_bound = self._layout.used_bytes() + self._announced
            room = self._limit_bytes - self._upper_bound
            if num_bytes > room:
                raise StorageFull(
                    f"{num_bytes} bytes do not fit: the store's quota of {self._limit_bytes} has "
                    f"{max(0, room)} left; delete blobs or raise the quota"
                )
            self._announced += num_bytes
            self._upper_bound += num_bytes

    def release(self, num_bytes: int) -> None:
        """These announced bytes have been written, or never will be."""
        with self._lock:
            self._announced -= num_bytes
