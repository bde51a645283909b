"""A learner's lasting memory: its trainer, saved whole in one file now and then.

    <memory>/saved-<version>-<64 hexadecimal digits of the file's SHA-256>

Law: a file that does not have the digest in its name is not there; a kill at any moment leaves the
newest whole one. The same file is what the lab is given every K-th version, so that whoever has no
memory at all can start from it.
"""

import hashlib
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

from archipel.training.sharding import this_site
from archipel.training.trainer import Trainer

KEPT = 2
"""Saved files that stay: the newest and one to fall back on."""
_NAME = re.compile(r"saved-([0-9]{9})-([0-9a-f]{64})")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Saved:
    """One saved trainer."""

    version: int
    path: Path


class Memory:
    """The saved trainers of one run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, trainer: Trainer) -> Path:
        """Save it; a collective. On the first rank the file is there when this returns.

        Raises:
            OSError: it could not be written; earlier ones are untouched.
        """
        partial = self._folder / "saved.partial"
        trainer.pack(partial)
        if not this_site().is_first:
            return partial
        place = self._folder / f"saved-{trainer.version:09d}-{_digest(partial)}"
        _flush(partial)
        partial.replace(place)
        _flush(self._folder)
        for old in self._all()[:-KEPT]:
            old.path.unlink()
        return place

    def newest(self) -> Saved | None:
        """The newest one that is whole."""
        for saved in reversed(self._all()):
            if saved.path.name.endswith(_digest(saved.path)):
                return saved
            _log.warning("%s does not have the digest in its name; it is passed over", saved.path)
        return None

    def _all(self) -> list[Saved]:
        """Oldest first; of one version, in no order that matters."""
        if not self._folder.is_dir():
            return []
        found = [(_NAME.fullmatch(path.name), path) for path in sorted(self._folder.iterdir())]
        return [Saved(int(name[1]), path) for name, path in found if name is not None]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Make a file's or folder's content survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
