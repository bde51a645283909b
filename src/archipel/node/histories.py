"""What a lab shows of a run's course: measurements of every version that can still be read.

Law: a version's measurements are taken from its publication, signed by a key that the run trusts; its
evaluations, which nobody acts on, from the lab's view.
"""

from archipel.curves.history import History, Point, exams_of, plain
from archipel.identity import Envelope, IdentityError
from archipel.node.client import LabReader
from archipel.node.exchange import LabRefused, believed
from archipel.node.recipes import alarms_of, recipe_of
from archipel.node.sealed import NO_LABS, NotBelieved, opening_of, publication_of
from archipel.records.documents import (
    MAX_VERSIONS_PER_PAGE,
    Opening,
    RunView,
)
from archipel.records.kinds.merge import MergeAnswer
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.recipe_alarms import AlarmSection
from archipel.records.statements import InvalidRecord, RunOpened, WorkAnswered, decode

NOT_FOUND = "not-found"
"""A lab's word for what it does not have."""
VERSIONS = (UpdateAnswer, MergeAnswer)
"""Answers that are a version, with what it measured."""
MICROSECONDS = 1e6
RUNS_PER_PAGE = 1000
MAX_RUNS_READ = 100_000


async def all_runs(lab: LabReader) -> list[RunView]:
    """Every run of a lab, page by page.

    Raises:
        LabUnreachable, LabRefused: from the lab.
    """
    runs: list[RunView] = []
    while len(runs) < MAX_RUNS_READ:
        page = await lab.read_all(RunView, "/runs", start=len(runs), limit=RUNS_PER_PAGE)
        runs += page
        if len(page) < RUNS_PER_PAGE:
            break
    return runs


async def run_or_none(lab: LabReader, name: str) -> RunView | None:
    """The run of that name; None if the lab has none.

    Raises:
        LabUnreachable, LabRefused: from the lab.
    """
    try:
        return await lab.read(RunView, f"/runs/{name}")
    except LabRefused as refused:
        if refused.problem != NOT_FOUND:
            raise
        return None


class RunReader:
    """Follows one run: asks for the versions that it has not seen yet."""

    def __init__(self, lab: LabReader, run: str) -> None:
        self._lab = lab
        self._run = run
        self._opened: RunOpened | None = None
        self._points: list[Point] = []
        self._bounds: AlarmSection | None = None

    async def opening(self) -> RunOpened:
        """How it was opened, in its operator's words.

        Raises:
            LabUnreachable, LabRefused: from the lab; also when it shows what no operator signed.
        """
        if self._opened is None:
            if not self._lab.lab:
                await self._lab.meet()
            founding = self._lab.founding
            shown = await self._lab.read(Opening, f"/runs/{self._run}/opening")
            self._opened = believed(lambda: opening_of(shown.opening, founding, self._run))
        return self._opened

    async def history(self, view: RunView, newest: int | None = None) -> History:
        """The run up to `view`; of a run never seen before, only the `newest` versions if that is given.

        Raises:
            LabUnreachable, LabRefused: from the lab.
        """
        opened = await self.opening()
        if self._bounds is None:
            self._bounds = alarms_of(await recipe_of(self._lab, opened))
        first = 0 if newest is None else max(0, view.version + 1 - newest)
        since = self._points[-1].version + 1 if self._points else first
        while since <= view.version:
            page = await self._lab.get(f"/runs/{self._run}/versions", since=since)
            points = points_of(page, opened, self._lab.founding.labs)
            fresh = [point for point in points if point.version >= since]
            if not fresh:
                break
            self._points += fresh
            since = fresh[-1].version + 1
        exams = exams_of(view.evaluations)
        return History(view.run, view.versions, tuple(self._points), exams, self._bounds)


def points_of(page: object, opened: RunOpened, labs: frozenset[str] = NO_LABS) -> list[Point]:
    """Measurements from sealed publications, by version; labs: as of `publication_of`.

    Raises:
        LabRefused: one of them is not by a key that the run trusts.
    """
    if not isinstance(page, list) or len(page) > MAX_VERSIONS_PER_PAGE:
        raise LabRefused("unexpected-answer", "expected a page of publications", 200)
    points = [_point(str(sealed), opened, labs) for sealed in page]
    return sorted((point for point in points if point is not None), key=lambda each: each.version)


def _point(sealed: str, opened: RunOpened, labs: frozenset[str]) -> Point | None:
    """None for what another programme publishes: it has no measurements that we know how to read."""
    said = believed(lambda: _statement(sealed))
    if not isinstance(said, WorkAnswered) or not isinstance(said.answer, VERSIONS):
        return None
    believed(lambda: publication_of(sealed, opened, labs))
    # An author's numbers are microseconds by the lab's clock (`LabClient.next_seq`).
    return Point(said.answer.version, said.seq / MICROSECONDS, plain(said.answer.metrics))


def _statement(sealed: str) -> object:
    """What an envelope holds, its signature not looked at."""
    try:
        return decode(Envelope.from_json(sealed.encode()).payload)
    except (IdentityError, InvalidRecord, UnicodeEncodeError) as error:
        raise NotBelieved("bad-version", str(error)) from None
