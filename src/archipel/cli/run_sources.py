"""Where a run's history is read from, once or again and again: a lab that lists it, or a ledger that is folded here."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from archipel.cli.doors import Mendable
from archipel.cli.ledger_checked import CHECKPOINT, HEAD_FILE, LEDGER_FILE, Checked, read_ledger

if TYPE_CHECKING:
    from archipel.curves.history import History, Point
    from archipel.lab.run_course import Course
    from archipel.node.client import LabReader


class Shown(NamedTuple):
    """One look at a run."""

    history: "History"
    version: int
    is_over: bool


class LabSource:
    """What a lab lists: signed publications, and its own word for evaluations."""

    def __init__(self, lab: "LabReader", name: str, runner: asyncio.Runner, whole: bool) -> None:
        from archipel.node.histories import RunReader

        self._lab, self._name, self._runner = lab, name, runner
        self._reader: RunReader = RunReader(lab, name)
        self._older: tuple[Point, ...] | None = None if whole else ()
        self.trouble = ""
        """Why the last look gave nothing."""

    def look(self) -> Shown | None:
        """Raises Mendable: the lab refused."""
        from archipel.node.exchange import LabRefused, LabUnreachable

        try:
            return self._runner.run(self._look())
        except LabUnreachable as error:
            self.trouble = f"no answer from the lab: {error}; is it running? (--lab URL)"
            return None
        except LabRefused as error:
            raise Mendable(f"the lab refused: {error}") from None

    async def _look(self) -> Shown:
        from archipel.cli.run_ledger import with_older
        from archipel.cli.run_words import OVER
        from archipel.records.documents import RunView

        view = await self._lab.read(RunView, f"/runs/{self._name}")
        history = await self._reader.history(view)
        if self._older is None:
            whole = await with_older(self._lab, await self._reader.opening(), history)
            known = {point.version for point in history.points}
            self._older = tuple(each for each in whole.points if each.version not in known)
        if self._older:
            history = replace(history, points=(*self._older, *history.points))
        return Shown(history, view.version, view.phase in OVER)


class LedgerSource:
    """A copy of a ledger, all of it checked and folded here at each look after it has grown."""

    trouble = ""

    def __init__(self, ledger: str, name: str, expect: str | None) -> None:
        self._ledger, self._name, self._expect = ledger, name, expect
        self._stamp: object = None

    def look(self) -> Shown | None:
        """Raises Mendable: the ledger cannot be read, does not hold, or opens no such run."""
        stamp = stamp_of(self._ledger)
        if stamp is not None and stamp == self._stamp:
            return None
        url = self._ledger if self._ledger.startswith(("http://", "https://")) else None
        place = (url, None if url else self._ledger, None, self._expect)
        _, course, phase = folded(place, self._name)
        self._stamp = stamp
        from archipel.cli.run_words import OVER

        history = course.history()
        version = history.points[-1].version if history.points else -1
        return Shown(history, version, phase in OVER)


def folded(
    place: tuple[str | None, str | None, Path | None, str | None], name: str
) -> "tuple[Checked, Course, str]":
    """The ledger at (address, file, home, expected lab), the run's course in it, and its phase.

    Raises:
        Mendable: it cannot be read, does not hold, or opens no such run.
    """
    from archipel.lab.run_course import Course
    from archipel.lab.views import run_view

    course = Course(name)
    checked = read_ledger(*place, seen=course.hear)
    state = checked.found.state
    if name not in state.runs:
        raise Mendable(f"this ledger opens no run {name!r:.80}; it has {sorted(state.runs)[:8]}")
    return checked, course, run_view(state, state.runs[name], 0).phase


def stamp_of(ledger: str) -> object:
    """Changes whenever a copy on disk grows; None where that cannot be seen without reading it."""
    if "://" in ledger:
        return None
    place = Path(ledger)
    files = [place / name for name in (CHECKPOINT, LEDGER_FILE, f"{LEDGER_FILE}-wal", HEAD_FILE)]
    if not place.is_dir():
        files = [place, place.with_name(f"{place.name}-wal")]
    found = [
        (file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.exists()
    ]
    return tuple(found) or None


@contextmanager
def run_source(
    lab_url: str, ledger: str | None, expect: str | None, name: str, whole: bool
) -> Iterator[LabSource | LedgerSource]:
    """The ledger where one is named, else the lab; whole: versions that the lab lists no more as well."""
    if ledger is not None:
        yield LedgerSource(ledger, name, expect)
        return
    from archipel.node.client import LabReader

    with asyncio.Runner() as runner:
        lab = LabReader(lab_url)
        runner.run(lab.__aenter__())
        try:
            yield LabSource(lab, name, runner, whole)
        finally:
            runner.run(lab.__aexit__(None, None, None))
