"""What a store of blobs can do. Digests are `sha256:` and 64 hexadecimal digits.

Two implement it: the local folder (`store.BlobStore`) and an S3-compatible server (`s3.S3Blobs`).
"""

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

from archipel.blobs.account import Usage
from archipel.blobs.landing import Direct
from archipel.blobs.sweep import Live, SweepReport


class Blobs(Protocol):
    """What every store can do."""

    def exists(self, digest: str) -> bool:
        """Whether the whole blob is here."""

    def size(self, digest: str) -> int:
        """Bytes of the blob; raises BlobMissing."""

    def put_bytes(self, data: bytes, *, privileged: bool = False) -> str:
        """Keep `data`; return its digest."""

    def read_bytes(self, digest: str, max_bytes: int) -> bytes:
        """The whole blob, hashed again."""

    def chunks(self, digest: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Bytes [start, stop), for whoever hashes what it receives."""


class Reading(Protocol):
    """A blob that is open: a sweep takes nothing from under its reader."""

    def seek(self, offset: int, /) -> int:
        """Where the next bytes begin."""

    def read(self, size: int = -1, /) -> bytes | None:
        """The next bytes, at most `size`; none at its end."""

    def close(self) -> None:
        """Let go of it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


class Writing(Protocol):
    """A blob on its way in; leaving the `with` block early keeps what arrived."""

    def write(self, data: bytes, /) -> None:
        """Add the next bytes."""

    def commit(self) -> None:
        """Check all of them, and give the blob its name."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...


class LabBlobs(Blobs, Protocol):
    """What a lab needs of its store besides. `BlobStore` says what each method raises."""

    @property
    def is_near(self) -> bool:
        """No method waits for a network; else those that move bytes, or sweep, belong into a thread."""

    @property
    def direct(self) -> Direct | None:
        """How bytes pass by the lab, straight from and to the store; None: all of them pass it."""

    def keep(self, digest: str) -> bool:
        """Whether the whole blob is here; if so, it is as young as one that was put just now."""

    def open(self, digest: str) -> Reading:
        """The blob, for whoever hashes what it reads; raises BlobMissing."""

    def writer(
        self, digest: str, size: int, offset: int = 0, *, privileged: bool = False
    ) -> Writing:
        """A stream for a blob of `size` bytes, from `offset` on."""

    def partial_offset(self, digest: str) -> int:
        """How many bytes of an interrupted blob are here."""

    def discard(self, digest: str) -> int:
        """Remove a blob, whole or partial; returns the bytes freed."""

    def used(self) -> Usage:
        """Bytes that it holds now."""

    def room(self, *, privileged: bool = False) -> int:
        """Bytes that may come now."""

    def sweep(
        self, live: Live, *, now_s: float, older_than_s: float, idle_s: float, dry: bool = False
    ) -> SweepReport:
        """Remove what nobody needs any more; slow, belongs into a thread."""
