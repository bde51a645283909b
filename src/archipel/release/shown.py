"""Release folders as a page shows them: whether they hold, how open they are, who owns and who shaped them.

Laws: every byte is hashed before anything is said of a folder; whatever is wrong with one is told as its problem and never
raised; a folder is looked at again only once one of its files is another one.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from archipel.records.page_documents import ReleaseView
from archipel.release import places
from archipel.release.index import Released
from archipel.release.openness.grade import CannotGrade, grade
from archipel.release.openness.osaid import is_open_source
from archipel.release.openness.wording import ROMAN
from archipel.release.trace.shares import shares_of
from archipel.release.trace.told import Told, Untraceable, look
from archipel.release.verify.files import (
    NoBundle,
    look_at_digests,
    look_at_paths,
    look_at_signature,
)
from archipel.release.verify.report import Expected, Looked

MAX_RELEASES = 256
MAX_LINES = 64
"""Owners, and of those who shaped the weights, the largest."""
MAX_PROBLEMS = 16
MICRO = 1_000_000
Tell = Callable[[str], None]
_Marks = tuple[tuple[int, int], ...]


class Shelf:
    """The releases below one folder, each looked at once."""

    def __init__(self, folder: Path, tell: Tell = lambda where: None) -> None:
        """`tell`: hears what is being looked at."""
        self._folder, self._tell = folder, tell
        self._known: dict[str, tuple[_Marks, ReleaseView]] = {}
        self._alone = threading.Lock()

    def releases(self) -> Sequence[ReleaseView]:
        """Those that were looked at so far, by name; waits for nothing."""
        known = self._known
        return [known[name][1] for name in sorted(known)]

    def look(self) -> None:
        """Look at what is new or changed, which reads every byte of it; one thread at a time.

        Raises:
            OSError: the folder itself cannot be read.
        """
        with self._alone:
            there = sorted(each for each in self._folder.iterdir() if _is_release(each))
            kept: dict[str, tuple[_Marks, ReleaseView]] = {}
            for folder in there[:MAX_RELEASES]:
                marks, known = _marks(folder), self._known.get(folder.name)
                is_same = known is not None and known[0] == marks
                kept[folder.name] = (
                    known if is_same and known else (marks, shown(folder, self._tell))
                )
                self._known = {**self._known, folder.name: kept[folder.name]}
            self._known = kept


def shown(folder: Path, tell: Tell = lambda where: None) -> ReleaseView:
    """One release, as far as it can be looked at; `tell` hears what is being looked at."""
    looked, problems = Looked(folder, Expected(), tell), list[str]()
    try:
        for step in (look_at_paths, look_at_signature, look_at_digests):
            step(looked)
    except (NoBundle, OSError) as error:
        problems.append(str(error))
    problems += [fault for step in looked.steps for fault in step.faults]
    index, told, openness = looked.index, None, tuple[tuple[str, str], ...]()
    if not problems:
        told, openness = _told(folder, tell, problems), tuple(_openness(folder, problems))
    return ReleaseView(
        name=folder.name,
        title="" if index is None else index.title,
        run=None if index is None else index.run,
        version=None if index is None else index.version,
        weights="" if index is None else index.weights,
        tree_size=None if index is None else index.tree_size,
        licence=None if index is None else index.licence_of("parameters"),
        signed_by=looked.signer or "",
        made_ms=0 if index is None else index.at_ms,
        openness=openness,
        holds=not problems,
        size_bytes=sum(stamp.size for stamp in looked.stamps.values()),
        files=len(looked.stamps),
        shares=() if told is None else tuple(_owners(told)),
        shaped_by=() if told is None else tuple(_shaped(told, problems)),
        parents=() if index is None else tuple(_parents(index)),
        problems=tuple(problem[:400] for problem in problems[:MAX_PROBLEMS]),
    )


def _is_release(folder: Path) -> bool:
    return not folder.is_symlink() and (folder / places.INDEX).is_file()


def _marks(folder: Path) -> _Marks:
    """By which a changed folder is told: of every file that lies there."""
    found = []
    for path in sorted(folder.rglob("*")):
        stat = path.lstat()
        found.append((stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def _told(folder: Path, tell: Tell, problems: list[str]) -> Told | None:
    try:
        return look(folder, Expected(), tell)
    except (NoBundle, Untraceable, OSError) as error:
        problems.append(f"what it was made from is not shown: {error}")
        return None


def _openness(folder: Path, problems: list[str]) -> Iterator[tuple[str, str]]:
    """Computed from the bytes, whatever the folder says of itself."""
    try:
        found = grade(folder)
    except (CannotGrade, OSError) as error:
        problems.append(f"it cannot be graded: {error}")
        return
    yield found.framework, ROMAN[found.classes.present]
    yield "Open Source AI Definition 1.0", is_open_source(found.osaid)


def _owners(told: Told) -> Iterator[tuple[str, int]]:
    """Who held how much of the run at the end of the ledger that it brings."""
    owned = told.state.owned.get(told.index.run)
    units = {} if owned is None else {name: owned.held[name] for name in owned.held}
    in_all = sum(units.values())
    for name, held in sorted(units.items(), key=lambda each: (-each[1], each[0]))[:MAX_LINES]:
        if in_all and held > 0:
            yield name, held * MICRO // in_all


def _shaped(told: Told, problems: list[str]) -> Iterator[tuple[str, int]]:
    """Operators, by the tokens that were learned from."""
    try:
        found = shares_of(told, None)
    except (Untraceable, OSError) as error:
        problems.append(f"who shaped it is not shown: {error}")
        return
    for line in found.of("operator")[:MAX_LINES]:
        if line.tokens and found.tokens:
            yield line.name, line.tokens * MICRO // found.tokens


def _parents(index: Released) -> Iterator[str]:
    for parent in index.parents:
        yield f"{parent.relation} {parent.name}"
