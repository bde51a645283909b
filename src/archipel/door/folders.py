"""Where a door's states and checkpoints lie: folders under ids of our own, and those nobody names go.

Law: a folder is named by a row before it counts, and removed only when no row names it, so a kill at any moment leaves at
most a folder too many.
"""

import secrets
import shutil
import tarfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

STATES = "states"


class Folders:
    """Of one door."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError: it cannot be made."""
        self._root = folder / STATES
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._in_use: Counter[str] = Counter()

    @contextmanager
    def making(self) -> Iterator[str]:
        """The name of one that is not there yet; a row must name it before this ends, or it goes."""
        with self.held(secrets.token_hex(16)) as name:
            yield name

    @contextmanager
    def held(self, name: str) -> Iterator[str]:
        """It stays, whatever the rows say."""
        self._in_use[name] += 1
        try:
            yield name
        finally:
            self._in_use[name] -= 1
            self._in_use += Counter()  # drops zeros

    def in_use(self) -> set[str]:
        """Those that are held now; to be asked before the rows are, for a row may be written in between."""
        return set(self._in_use)

    def path(self, name: str) -> Path:
        """Where it lies."""
        return self._root / name

    def sweep(self, needed: Collection[str]) -> int:
        """Remove what nobody needs; how many went. Blocks for the disk."""
        gone = 0
        for path in self._root.iterdir():
            if path.name not in needed and path.name not in self._in_use:
                shutil.rmtree(path, ignore_errors=True)
                gone += 1
        return gone

    def num_bytes(self, name: str) -> int:
        """Of its files."""
        return sum(each.stat().st_size for each in self.path(name).rglob("*") if each.is_file())

    def archive(self, name: str, into: Path) -> None:
        """Its files as a tar, without owner or time, so that the same files are the same bytes."""
        with tarfile.open(into, "w") as tar:
            for path in sorted(self.path(name).iterdir()):
                said = tar.gettarinfo(str(path), path.name)
                said.uid = said.gid = said.mtime = 0
                said.uname = said.gname = ""
                with path.open("rb") as file:
                    tar.addfile(said, file)
