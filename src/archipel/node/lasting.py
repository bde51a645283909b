"""What strangers' works leave on this machine for the next work of the same run: a folder for each run.

Parts: `Lasting` (the folders, within a quota), `overrun` (watches a child at work). Law: all folders together stay
within the quota; the run worked for longest ago goes first, and never the one at work, which is ended when it alone
takes more. What went is begun anew, so it costs its run a little and nobody the lease.
"""

import asyncio
import shutil
from pathlib import Path

from archipel.node.scratch import used_bytes
from archipel.records.fields import Closed
from archipel.work.messages import DoWork, Setup

FOLDER = "memory"
MODE = 0o700
WATCH_S = 0.5
"""Between looks at what the child has written; a disk takes a gigabyte in that time at most."""


class Lasting:
    """The folders of one home."""

    def __init__(self, root: Path, quota_bytes: int) -> None:
        self._root = root
        self._quota_bytes = quota_bytes

    def begin(self, folder: str) -> None:
        """A work of this run begins: its folder is there, its owner's alone, and the one used last.

        Raises:
            OSError: the disk is full, or the folder is not ours.
        """
        own = self._root / folder
        own.mkdir(mode=MODE, parents=True, exist_ok=True)
        own.chmod(MODE)
        own.touch()
        self.excess(folder)

    def excess(self, folder: str | None) -> int:
        """Remove what lies there of other runs until all are within the quota; bytes that are still too many.

        folder: of the run at work, which stays; None: none is.
        """
        total = used_bytes(self._root)
        for other in self._others(folder) if total > self._quota_bytes else ():
            _remove(other)
            total = used_bytes(self._root)
            if total <= self._quota_bytes:
                break
        return max(total - self._quota_bytes, 0)

    def _others(self, folder: str | None) -> list[Path]:
        """Not `folder`, the one used longest ago first."""
        try:
            found = [each for each in self._root.iterdir() if each.name != folder]
        except FileNotFoundError:
            return []
        return sorted(found, key=_used_at)


def _used_at(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _remove(path: Path) -> None:
    """A file that a child put between the folders goes as they do."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


async def overrun(setup: Setup, message: Closed) -> str:
    """Returns only when a child has written more than it may, with a sentence that says so; cancel it before."""
    scratch, bound = setup.scratch, setup.max_file_bytes
    memory, quota = setup.memory, setup.max_lasting_bytes
    while True:
        await asyncio.sleep(WATCH_S)
        if bound is not None and (used := await asyncio.to_thread(used_bytes, scratch)) > bound:
            return f"the child wrote {used} bytes into {scratch}, at most {bound} are allowed; raise --scratch-gb, or leave this run to others"
        if memory is not None and quota is not None and isinstance(message, DoWork):
            lasting = Lasting(memory, quota)
            excess = await asyncio.to_thread(lasting.excess, message.folder)
            if excess:
                return (
                    f"the run keeps {quota + excess} bytes in {memory / message.folder}, at most {quota} are "
                    "allowed; raise --lasting-gb, or leave this run to others"
                )
