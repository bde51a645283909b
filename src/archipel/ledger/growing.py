"""Logs of others, read as they grow: rows beside their writer, and a mirror's files.

Parts: `GrowingLog`, `GrowingMirror`; both say what `Growing` names. Law: a head is handed on only once its signature holds;
that entries add up to it is for whoever folds them to show, but rows that do not go on from rows read before are refused here.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from archipel.ledger.merkle import Frontier
from archipel.ledger.mirror import Mirror
from archipel.ledger.reader import Reader, check_root, checked_head, checked_rows
from archipel.ledger.signed_note import NoteKey
from archipel.ledger.storage import LedgerCorrupt, LedgerMissing, Storage
from archipel.ledger.tiles import ENTRIES, TILE_WIDTH, Place, places
from archipel.ledger.tree_head import TreeHead

PAGE = 4096
"""Entries read at once."""
HASHES = 65_536
"""Leaf hashes read at once."""


class Growing(Protocol):
    """A ledger somewhere else."""

    def head(self) -> TreeHead:
        """The newest, signed by the ledger's lab."""

    def entries(self, size: int, start: int) -> Iterator[bytes]:
        """Entries `start` to `size`, of which a head was seen."""


class GrowingLog:
    """A log's rows, read beside its writer if there is one."""

    def __init__(self, open_storage: Callable[[], Storage], key: NoteKey) -> None:
        """Nothing is opened before it is asked."""
        self._reader, self._key = Reader(open_storage), key
        self._frontier = Frontier()

    def head(self) -> TreeHead:
        """The newest; its rows were hashed and go on from those before.

        Raises:
            LedgerCorrupt: it is not by the log's key, went back, or is over others than before. LedgerError: the disk.
        """
        with self._reader.turn() as storage:
            row = storage.latest_head()
            if row is None:
                raise LedgerMissing("there is no log here yet; its lab has to start first")
            head, frontier = checked_head(row, self._key), self._frontier
            if head.size < frontier.size:
                raise LedgerCorrupt(
                    f"the newest head is over {head.size} entries, and there was one over {frontier.size}: this ledger "
                    "has gone back"
                )
            while frontier.size < head.size:
                wanted = min(HASHES, head.size - frontier.size)
                hashes = storage.leaf_hashes(frontier.size, wanted)
                if len(hashes) != wanted:
                    raise LedgerCorrupt(f"an entry after {frontier.size} of {head.size} is missing")
                frontier = frontier.extended(hashes)
            check_root(frontier, head)
            self._frontier = frontier
            return head

    def entries(self, size: int, start: int) -> Iterator[bytes]:
        """Entries `start` to `size`, each what its leaf hash says.

        Raises: LedgerCorrupt: one is missing or another.
        """
        while start < size:
            rows = self._rows(start, min(PAGE, size - start))
            yield from rows
            start += len(rows)

    @property
    def size(self) -> int:
        """Entries under the newest head that was looked at."""
        return self._frontier.size

    def read(self, start: int, limit: int) -> list[bytes]:
        """Entries `start` to `start + limit`, as far as that head covers them; raises as `entries`."""
        return self._rows(start, max(min(limit, self.size - start), 0))

    def _rows(self, start: int, wanted: int) -> list[bytes]:
        with self._reader.turn() as storage:
            return [row.data for row in checked_rows(storage, start, wanted)]

    def close(self) -> None:
        """Let go of the rows."""
        self._reader.close()


class GrowingMirror:
    """A mirror's folder, which somebody else keeps up to date."""

    def __init__(self, folder: Path, key: NoteKey) -> None:
        self._folder, self._key = folder, key

    def head(self) -> TreeHead:
        """The checkpoint as it is now.

        Raises:
            LedgerCorrupt: it is not by the log's key. LedgerError: it cannot be read.
        """
        head = Mirror(self._folder, self._key).head
        if head is None:
            raise LedgerMissing(f"{self._folder} holds no checkpoint: no mirror, or none any more")
        return head

    def entries(self, size: int, start: int) -> Iterator[bytes]:
        """Entries `start` to `size`, out of bundles; of a partial one that has grown meanwhile, out of its successor.

        Raises: LedgerCorrupt: a bundle is missing or damaged.
        """
        mirror = Mirror(self._folder, self._key)
        first = start // TILE_WIDTH
        for place in places(size):
            if place.level != ENTRIES:
                return
            if place.index < first:
                continue
            begin = place.index * TILE_WIDTH
            held = self._bundle(mirror, place.index, place.width)
            yield from held[max(start - begin, 0) : size - begin]

    def _bundle(self, mirror: Mirror, tile: int, width: int) -> list[bytes]:
        """At least `width` entries of a bundle: of the checkpoint that is there now, or of the next."""
        error: LedgerCorrupt | None = None
        for kept in (mirror, Mirror(self._folder, self._key)):
            now = min(TILE_WIDTH, kept.size - tile * TILE_WIDTH)
            if now < width:
                raise LedgerCorrupt(
                    f"{self._folder} is over {kept.size} entries, and was over more before: it has gone back"
                )
            try:
                return kept.bundle(Place(ENTRIES, tile, now))
            except LedgerCorrupt as found:
                error = found
        raise error or LedgerCorrupt(f"{self._folder} lacks bundle {tile}")
