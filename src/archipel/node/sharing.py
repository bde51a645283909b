"""What this node passes on: parts of published versions' weights, as far as their hashes held.

Law: only what a verified publication names is here, and of a blob that is on its way only the bytes whose chunks were
hashed. Answers, prompts, checkpoints and whatever else lies in the cache are never served.
"""

import asyncio
import contextlib
from collections import OrderedDict
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from archipel.blobs import BlobStore
from archipel.blobs.errors import BlobMissing

MAX_SHARED = 4096
"""Blobs; the one that was published longest ago is forgotten."""


class NotShared(Exception):
    """A blob that is not served here, or bytes of it that did not come in time."""


@dataclass(slots=True)
class Arriving:
    """A blob on its way in."""

    path: Path
    verified: int = 0
    """Bytes from the start whose hashes held."""
    more: asyncio.Event = field(default_factory=asyncio.Event)
    """There are more of them now, or it is over."""


class Shared:
    """Of one node."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._arriving: dict[str, Arriving] = {}

    def publish(self, digest: str, size: int) -> None:
        """A verified publication names this blob: it may be served."""
        self._sizes[digest] = size
        self._sizes.move_to_end(digest)
        while len(self._sizes) > MAX_SHARED:
            self._sizes.popitem(last=False)

    def forget(self) -> None:
        """The lab is another one: what it published is no more served."""
        self._sizes.clear()

    def is_published(self, digest: str) -> bool:
        """Whether it may be served once it is here."""
        return digest in self._sizes

    def size(self, digest: str) -> int:
        """Bytes of the whole blob. Raises NotShared."""
        try:
            return self._sizes[digest]
        except KeyError:
            raise NotShared(f"{digest} is not served here") from None

    def begins(self, digest: str, path: Path) -> None:
        """It is on its way into the file `path`."""
        self._arriving[digest] = Arriving(path)

    def came(self, digest: str, verified: int) -> None:
        """So many bytes from its start hold."""
        arriving = self._arriving.get(digest)
        if arriving is not None:
            arriving.verified = verified
            arriving.more.set()
            arriving.more = asyncio.Event()

    def ends(self, digest: str) -> None:
        """Nothing more of it comes; it is whole, or it is not here."""
        arriving = self._arriving.pop(digest, None)
        if arriving is not None:
            arriving.more.set()

    async def opened(self, digest: str, stop: int, limit_s: float) -> FileIO:
        """A file whose first `stop` bytes are the blob's, waiting for them up to `limit_s`.

        Raises:
            NotShared: it is not served, or they did not come in time.
        """
        if stop > self.size(digest):
            raise NotShared(f"{digest} has {self.size(digest)} bytes, not {stop}")
        try:
            async with asyncio.timeout(limit_s):
                while (arriving := self._arriving.get(digest)) is not None:
                    if arriving.verified >= stop:
                        with contextlib.suppress(FileNotFoundError):
                            return FileIO(arriving.path)
                        break  # it has its name just now, and is as whole as one that came long ago
                    await arriving.more.wait()
            return self._store.open(digest)
        except (TimeoutError, BlobMissing, FileNotFoundError):
            raise NotShared(f"byte {stop} of {digest} is not here") from None
