"""A ledger's rows and a lab's blobs in memory, for stories that are not about disks."""

from collections.abc import Iterable

from archipel.blobs.errors import BlobMissing
from archipel.ledger.storage import EntryRow, HeadRow, LeaderLost, LedgerFull
from archipel.records.canonical import sha256_digest


class MemoryStorage:
    """A ledger's rows in lists; `room` entries fit, as on a disk that fills up."""

    term = None
    lost: LeaderLost | None = None
    """Once another lab leads."""

    def __init__(self) -> None:
        self._entries: list[EntryRow] = []
        self._heads: list[HeadRow] = []
        self.room: int | None = None

    def append(self, entries: Iterable[EntryRow], head: HeadRow) -> None:
        rows = list(entries)
        if self.room is not None and len(self._entries) + len(rows) > self.room:
            raise LedgerFull("no room; make some")
        self._entries += rows
        self._heads.append(head)

    def entries(self, start: int, limit: int) -> list[EntryRow]:
        return self._entries[start : start + limit]

    def leaf_hashes(self, start: int, limit: int) -> list[bytes]:
        return [row.leaf_hash for row in self._entries[start : start + limit]]

    def latest_head(self) -> HeadRow | None:
        return self._heads[-1] if self._heads else None

    def heads(self, above: int, limit: int) -> list[HeadRow]:
        return [head for head in self._heads if head.size > above][:limit]

    def num_entries(self) -> int:
        return len(self._entries)

    def check_writer(self) -> None:
        if self.lost is not None:
            raise self.lost

    def close(self) -> None:
        """Nothing to let go of."""


class MemoryBlobs:
    """Blobs by digest, for stories that are not about bytes on their way."""

    is_near = True
    direct = None

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    def exists(self, digest: str) -> bool:
        return digest in self._data

    def size(self, digest: str) -> int:
        return len(self._data[digest])

    def keep(self, digest: str) -> bool:
        return digest in self._data

    def discard(self, digest: str) -> int:
        return len(self._data.pop(digest, b""))

    def put_bytes(self, data: bytes, *, privileged: bool = False) -> str:
        digest = sha256_digest(data)
        self._data[digest] = data
        return digest

    def read_bytes(self, digest: str, max_bytes: int) -> bytes:
        if digest not in self._data:
            raise BlobMissing(f"there is no blob {digest} here")
        return self._data[digest]
