"""Is a component there? All files that it names are looked into, and at least one must be of its kind.

Law: one file that is not what it is called, and the component is not present: whoever takes it takes all of it.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from archipel.release.openness.contents import Holds, Look, look
from archipel.release.openness.mof import (
    DATASETS,
    EVALUATION_DATA,
    INTERMEDIATE,
    LIBRARIES,
    METADATA,
    PARAMETERS,
    PARTS,
    SAMPLES,
)

MAX_FILES = 200_000
MAX_WHY = 12
_DATA: Final[frozenset[Holds]] = frozenset({"data"})
_WEIGHTS: Final[frozenset[Holds]] = frozenset({"weights"})
_ANY: Final[frozenset[Holds]] = frozenset({"data", "document", "setting"})
ENOUGH: Final[dict[str, frozenset[Holds]]] = {
    PARAMETERS: _WEIGHTS,
    INTERMEDIATE: _WEIGHTS,
    DATASETS: _DATA,
    EVALUATION_DATA: _DATA,
    LIBRARIES: _ANY | {"code"},
    METADATA: _ANY,
    SAMPLES: _ANY,
}
"""What at least one file of a component holds; of all others: code for code, a document for a document."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What the files of a component are."""

    files: tuple[str, ...]
    is_present: bool
    why: tuple[str, ...]


@dataclass(slots=True)
class Looking:
    """Looks into each file of a folder once, whichever components name it."""

    folder: Path
    wrong: dict[str, str] = field(default_factory=dict)
    """Files that a manifest of data names with another digest, and how they differ."""
    _seen: dict[str, Look] = field(default_factory=dict)

    def look(self, place: str) -> Look:
        """Into one file."""
        if place not in self._seen:
            self._seen[place] = look(self.folder, place)
        return self._seen[place]

    def hold(self, part: str, places: Iterable[str]) -> Holding:
        """Look into all that a component names. part: its name in the framework."""
        files = sorted({file for place in places for file in files_below(self.folder, place)})
        why = []
        held: set[Holds] = set()
        for file in files:
            seen = self.look(file)
            fault = seen.fault or self.wrong.get(file)
            held |= seen.holds if fault is None else frozenset()
            if fault is not None or seen.remark is not None:
                why.append((fault is None, f"{file:.200}: {fault or seen.remark}"))
        faults = sum(not is_remark for is_remark, _ in why)
        is_kind = bool(held & ENOUGH.get(part, frozenset({PARTS[part].type})))
        told = [text for _, text in sorted(why)]
        if len(told) > MAX_WHY:
            told = [*told[:MAX_WHY], f"and {len(told) - MAX_WHY} more like these"]
        if files and not is_kind:
            told.append(f"no file of it holds {_named(part)}")
        return Holding(tuple(files), is_kind and not faults, tuple(told))


def files_below(folder: Path, place: str) -> list[str]:
    """Files at or below `place`, relative to `folder`, sorted; a link is named and not followed."""
    start = folder / place
    if start.is_symlink() or not start.is_dir():
        return [place] if start.is_symlink() or start.exists() else []
    found = []
    for where, folders, names in os.walk(start):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        links = [each for each in folders if (Path(where) / each).is_symlink()]
        for name in sorted([*names, *links]):
            if not name.startswith("."):
                found.append((Path(where) / name).relative_to(folder).as_posix())
        if len(found) > MAX_FILES:
            raise TooManyFiles(f"{folder} has more than {MAX_FILES} files; grade a part of it")
    return sorted(found)


class TooManyFiles(ValueError):
    """A folder that nobody can look through here."""


def _named(part: str) -> str:
    return " or ".join(sorted(ENOUGH.get(part, frozenset({PARTS[part].type}))))
