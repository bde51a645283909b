"""Bytes that pass by the lab: where one upload may put them in the lab's store, and until when."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LandingPart:
    """Bytes [start, stop) of a blob, and the signed address that takes them by PUT."""

    url: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Landing:
    """A place in the store for one blob of one sender."""

    name: str
    """Random; whoever knows it may say that the bytes have landed."""
    parts: tuple[LandingPart, ...]
    is_hashed: bool
    """The store itself refuses other bytes: the request must say the blob's SHA-256 in `x-amz-checksum-sha256`."""
    until_s: float
    """Unix time at which it ends; its room is free again then."""


class Direct(Protocol):
    """What a store can do whose bytes need not pass the lab. `open`, `land` and `abandon` belong into a thread."""

    def address(self, digest: str, life_s: int) -> str:
        """Where anybody may fetch a blob by GET for so long; asks nobody."""

    def open(self, digest: str, size: int, life_s: float, *, privileged: bool = False) -> Landing:
        """A landing for `size` bytes.

        Raises:
            StorageFull: no room. StorageFailed: the store is down, or refuses.
        """

    def land(self, name: str, tags: tuple[str, ...]) -> None:
        """Its bytes are there: check them and give them their name.

        Args:
            name: of a landing that is open.
            tags: what the store calls each part.

        Raises:
            BlobMissing: no such landing, or no bytes. DigestMismatch: other bytes; it has ended. BlobBusy: it lands already.
            StorageFailed: the store is down, or refuses; it stays open.
        """

    def abandon(self, name: str) -> None:
        """It will not be used any more, if it is open at all."""
