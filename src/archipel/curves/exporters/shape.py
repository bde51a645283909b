"""What every exporter is: opened at a place for one run, told what is new, closed."""

from dataclasses import replace
from typing import Protocol

from archipel.curves.history import History

TRAIN, EVAL = "train", "eval"
Key = tuple[str, int]
"""`train` or `eval`, and a version: what is written once."""
MAX_FILE_BYTES = 2**30
"""No file of a run is read back that is larger; a version of forty measurements takes some 1 kB."""
MAX_LINE_BYTES = 2**20


class CannotExport(Exception):
    """A place holds something else, or what writes there is not installed; the message says what to do."""


class Exporter(Protocol):
    """One file or folder that a run's history goes into."""

    def held(self) -> frozenset[Key]:
        """What it holds already."""

    def add(self, new: History) -> None:
        """Write these points and evaluations, of which it holds none.

        Raises:
            OSError: they cannot be written.
            CannotExport: they have no place there.
        """

    def close(self) -> None: ...


def unheld(history: History, held: frozenset[Key] | set[Key]) -> History:
    """The history without what is held: a late evaluation of an old version is new as well."""
    points = tuple(each for each in history.points if (TRAIN, each.version) not in held)
    exams = tuple(each for each in history.exams if (EVAL, each.version) not in held)
    return replace(history, points=points, exams=exams)
