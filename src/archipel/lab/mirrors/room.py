"""How much of its host's disk a mirrored ledger may take: who shows one without end ends its own mirror alone.

Law: looked at while entries come, before they are written; what a growth wrote that did not end is removed again
(`ledger.mirror`).
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from archipel.ledger.storage import LedgerUnavailable

GIB = 2**30
MAX_LEDGER_BYTES = 32 * GIB
"""Of one mirrored ledger."""
SPARE_BYTES = 2 * GIB
"""Of the disk, left to its host; of a small disk a tenth."""
LOOK_EVERY_BYTES = 16 * 2**20


class Room:
    """Of the ledger in one folder."""

    def __init__(
        self,
        folder: Path,
        most: int = MAX_LEDGER_BYTES,
        free: Callable[[Path], tuple[int, int]] | None = None,
    ) -> None:
        """most: bytes of entries. free: (bytes of the disk, those that are free)."""
        self._folder, self._most, self._free = folder, most, free or _free
        self._held: int | None = None

    def passed(self, entries: Iterable[bytes]) -> Iterator[bytes]:
        """Hand entries on while there is room.

        Raises:
            LedgerUnavailable: there is none; what came of this growth is of no use.
        """
        held, looked = self._held, 0
        if held is None:
            held = _used(self._folder)
        self._held = None  # unless all of them came
        for entry in entries:
            held += len(entry)
            looked -= len(entry)
            if held > self._most:
                raise LedgerUnavailable(
                    f"its entries have more than {self._most} bytes, which is what a mirrored ledger may take here"
                )
            if looked < 0:
                self._look()
                looked = LOOK_EVERY_BYTES
            yield entry
        self._held = held

    def _look(self) -> None:
        whole, free = self._free(self._folder)
        spare = min(SPARE_BYTES, whole // 10)
        if free < spare:
            raise LedgerUnavailable(
                f"the disk has {free} bytes left, and {spare} are not for mirrors; make room in or beside {self._folder}"
            )


def _free(folder: Path) -> tuple[int, int]:
    folder.mkdir(parents=True, exist_ok=True)
    found = shutil.disk_usage(folder)
    return found.total, found.free


def _used(folder: Path) -> int:
    return sum(
        (Path(root) / name).lstat().st_size
        for root, _, names in os.walk(folder / "tile" / "entries")
        for name in names
    )
