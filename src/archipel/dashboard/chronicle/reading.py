"""Whoever reads a chronicle, beside the one that writes it: series, sums and rounds, each row with its entries.

Law: it changes nothing and waits for nobody; a file that is not there is a chronicle of no entries; every answer is
bounded. Each thread has a connection of its own, made anew when another file lies at the path.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from archipel.curves.history import Exam, History, Point, plain, plain_exam
from archipel.dashboard.chronicle.file import BROKEN, opened_for_reading, unusable
from archipel.dashboard.chronicle.gathered import MINUTE_MS
from archipel.dashboard.chronicle.rows import (
    SPAN_MS,
    Cost,
    Earned,
    Examined,
    Grown,
    Measured,
    Moved,
    Opened,
    Round,
    Withdrawn,
    Worked,
)
from archipel.dashboard.series import By, thinned
from archipel.records.recipe_alarms import AlarmSection

LIMIT = 10_000
"""Rows of any answer."""
MAX_POINTS = 100_000
"""Versions of a history."""
MAX_ACCOUNTS = 1_000
_SPLIT = 500
"""Values in one statement: SQLite takes 999 and more."""
_GAINS = ("PAY", "CHARGE", "EARN", "RESTORE", "CLAWBACK")
"""What an account earns: what comes in by these, less what goes out by the last."""


class Chronicle:
    """The one at `path`; may be shared between threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine = threading.local()

    @property
    def size(self) -> int:
        """Entries that it is made from; 0 where there is none.

        Raises:
            ChronicleUnusable: as everything here: the file is damaged, of another format, or no chronicle.
        """
        row = self._row("SELECT size FROM chronicle")
        return 0 if row is None else int(row[0])

    def run(self, run: str) -> Opened | None:
        """One run; None: it knows none of that name."""
        row = self._row(
            "SELECT name.word, programme, versions, entry, at_ms, stopped, paid_micro, units, tokens, bytes "
            "FROM run JOIN name USING (id) WHERE name.word = ?",
            run,
        )
        return None if row is None else Opened(*row)

    def series(self, run: str, most: int = 1000) -> list[Measured]:
        """Versions of a run, thinned evenly to `most` (the first and the last stay), by version."""
        known = self._row("SELECT count(*), min(version) FROM point WHERE run = ?", self._id(run))
        if known is None or not known[0]:
            return []
        picked = thinned(known[0], _bounded(most))
        # Versions come one after the other, so a place in the series is a version.
        return self._points(run, [known[1] + place for place in picked])

    def exams(self, run: str, limit: int = LIMIT) -> list[Examined]:
        """Of the newest `limit` versions that were examined, by version."""
        query = (
            "SELECT version, entry, at_ms, name.word, metrics FROM exam JOIN name ON name.id = node "
            "WHERE run = ? ORDER BY version DESC LIMIT ?"
        )
        rows = self._rows(query, self._id(run), _bounded(limit))
        return [
            Examined(version, entry, at_ms, node, self._told(plain_exam, metrics))
            for version, entry, at_ms, node, metrics in reversed(rows)
        ]

    def history(
        self, run: str, newest: int = MAX_POINTS, bounds: AlarmSection | None = None
    ) -> History:
        """The `newest` versions of a run as curves know them; times are those of the publications' entries.

        bounds: of the run's recipe, which is no record; None: as a recipe that says nothing.
        """
        opened = self.run(run)
        limit = min(max(newest, 1), MAX_POINTS)
        query = (
            "SELECT version, at_ms, metrics FROM point WHERE run = ? ORDER BY version DESC LIMIT ?"
        )
        rows = self._rows(query, self._id(run), limit)
        points = tuple(
            Point(version, at_ms / 1000, self._told(plain, metrics))
            for version, at_ms, metrics in reversed(rows)
        )
        exams = tuple(Exam(each.version, each.values) for each in self.exams(run))
        versions = 0 if opened is None else opened.versions
        return History(run, versions, points, exams, bounds or AlarmSection())

    def earnings(
        self, accounts: Collection[str], since_ms: int = 0, by: By = "minute"
    ) -> list[Earned]:
        """What these accounts earned together, by time; of the newest `LIMIT` times.

        accounts: names of `market.journal`; at most MAX_ACCOUNTS are looked at.
        """
        found: dict[int, list[int]] = {}
        for some in _parts([self._id(each) for each in [*accounts][:MAX_ACCOUNTS]]):
            for start, micro, count, first, last in self._rows(
                _earned(len(some)), SPAN_MS[by], SPAN_MS[by], *some, _minute(since_ms), LIMIT
            ):
                old = found.get(start, [0, 0, first, last])
                found[start] = [
                    old[0] + micro, old[1] + count, min(old[2], first), max(old[3], last)
                ]  # fmt: skip
        return [Earned(start, *found[start]) for start in sorted(found)][-LIMIT:]

    def movements(self, account: str, since_ms: int = 0, limit: int = LIMIT) -> list[Moved]:
        """Of one account, the newest `limit`, by time."""
        rows = self._rows(
            f"{_MOVED} AND minute >= ? {_NEWEST}",
            self._id(account),
            _minute(since_ms),
            _bounded(limit),
        )
        return [Moved(account, row[0] * MINUTE_MS, *row[1:]) for row in reversed(rows)]

    def first(self, account: str, move: str) -> Moved | None:
        """When credits first came into an account by that move: a provider's first earnings, say."""
        query = f"{_MOVED} AND move = ? AND in_micro > 0 ORDER BY minute, first LIMIT 1"
        row = self._row(query, self._id(account), move)
        return None if row is None else Moved(account, row[0] * MINUTE_MS, *row[1:])

    def costs(self, run: str, by: By = "minute", limit: int = LIMIT) -> list[Cost]:
        """What moved because of a run, by time and move; the newest `limit`."""
        query = (
            "SELECT minute * 60000 / ? * ? AS start, move, sum(micro), sum(count), min(first), max(last) FROM cost "
            "WHERE run = ? GROUP BY start, move ORDER BY start DESC, move DESC LIMIT ?"
        )
        rows = self._rows(query, SPAN_MS[by], SPAN_MS[by], self._id(run), _bounded(limit))
        return [Cost(*row) for row in reversed(rows)]

    def clearings(self, run: str, start: int = 0, limit: int = 1000) -> list[Round]:
        """Rounds of a run's market from number `start` on, the newest `limit`, by number; open ones included."""
        query = (
            "SELECT number, entry, at_ms, lots, seals, reveals, cleared, cleared_ms, price_micro, bought, short "
            "FROM round WHERE run = ? AND number >= ? ORDER BY number DESC LIMIT ?"
        )
        rows = self._rows(query, self._id(run), start, _bounded(limit))
        return [Round(*row) for row in reversed(rows)]

    def growth(self, most: int = 1000) -> list[Grown]:
        """The ledger's size by time, thinned evenly to `most` minutes in which it grew (the first and the last stay)."""
        minutes = [row[0] for row in self._rows("SELECT minute FROM growth ORDER BY minute")]
        chosen = [minutes[place] for place in thinned(len(minutes), _bounded(most))]
        query = "SELECT minute, entries, first, last FROM growth WHERE minute IN ({})"
        return [
            Grown(minute * MINUTE_MS, entries, last + 1, first, last)
            for minute, entries, first, last in self._among(query, chosen)
        ]

    def work(
        self, node: str, since_ms: int = 0, by: By = "hour", limit: int = LIMIT
    ) -> list[Worked]:
        """What a node did, by time, kind and run; the newest `limit`."""
        query = (
            "SELECT minute * 60000 / ? * ? AS start, kind, name.word, sum(answers), sum(units), sum(tokens), "
            "sum(bytes), sum(busy_ms), min(first), max(last) FROM work JOIN name ON name.id = run "
            "WHERE node = ? AND minute >= ? GROUP BY start, kind, run ORDER BY start DESC, kind DESC, run DESC LIMIT ?"
        )
        span = SPAN_MS[by]
        rows = self._rows(query, span, span, self._id(node), _minute(since_ms), _bounded(limit))
        return [Worked(*row) for row in reversed(rows)]

    def withdrawals(self, run: str, limit: int = 1000) -> list[Withdrawn]:
        """Of what was given to a run, the newest `limit`, by entry."""
        query = (
            "SELECT entry, at_ms, name.word, what, reason FROM withdrawal JOIN name ON name.id = author "
            "WHERE run = ? ORDER BY entry DESC LIMIT ?"
        )
        rows = self._rows(query, self._id(run), _bounded(limit))
        return [Withdrawn(*row) for row in reversed(rows)]

    def _points(self, run: str, versions: Sequence[int]) -> list[Measured]:
        number = self._id(run)
        ages: dict[int, dict[int, int]] = {}
        query = f"SELECT version, age, groups FROM age WHERE run = {number} AND version IN ({{}})"  # noqa: S608  our own number
        for version, age, groups in self._among(query, versions):
            ages.setdefault(version, {})[age] = groups
        query = (
            "SELECT version, entry, at_ms, name.word, granted, granted_ms, anchor_bytes, delta_bytes, "  # noqa: S608
            "paid_micro, units, tokens, bytes, metrics FROM point JOIN name ON name.id = node "
            f"WHERE run = {number} AND version IN ({{}})"
        )
        return [
            Measured(*[*facts, self._told(plain, metrics), ages.get(facts[0], {})])
            for *facts, metrics in self._among(query, versions)
        ]

    def _told(self, read: Callable[[Any], dict[str, float]], metrics: str) -> dict[str, float]:
        """Measurements, as `read` makes them of their JSON."""
        try:
            return read(json.loads(metrics))
        except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise unusable(self._path, error) from None

    def _id(self, word: str) -> int:
        """Its number; -1, which nobody has, where it never came up."""
        row = self._row("SELECT id FROM name WHERE word = ?", word)
        return -1 if row is None or not word else int(row[0])

    def _among(self, query: str, values: Sequence[int]) -> list[tuple[Any, ...]]:
        """Rows by their first column, which is one of `values`; `{}` in the query stands for them."""
        found: list[tuple[Any, ...]] = []
        for some in _parts(values):
            found += self._rows(query.format(_marks(len(some))), *some)
        return sorted(found)

    def _row(self, query: str, *values: object) -> tuple[Any, ...] | None:
        rows = self._rows(query, *values)
        return rows[0] if rows else None

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            db = self._connection()
            return [] if db is None else db.execute(query, values).fetchall()
        except (*BROKEN, OSError, OverflowError) as error:
            raise unusable(self._path, error) from None

    def _connection(self) -> sqlite3.Connection | None:
        """Of this thread, to the file that lies there now."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        if not found.st_size:
            return None
        file = (found.st_dev, found.st_ino)
        if getattr(self._mine, "file", None) != file:
            self._mine.db, self._mine.file = opened_for_reading(self._path), file
        return self._mine.db  # type: ignore[no-any-return]  # a thread's own attribute


_MOVED = (
    "SELECT minute, move, name.word, in_micro, out_micro, count, first_ms, first, last FROM movement "
    "JOIN name ON name.id = run WHERE account = ?"
)
_NEWEST = "ORDER BY minute DESC, move DESC, run DESC LIMIT ?"


def _earned(count: int) -> str:
    """The query, for so many accounts."""
    gains = ", ".join(f"'{move}'" for move in _GAINS)
    micro = "sum(CASE move WHEN 'CLAWBACK' THEN -out_micro ELSE in_micro END)"
    return (
        f"SELECT minute * 60000 / ? * ? AS start, {micro}, sum(count), min(first), max(last) FROM movement "  # noqa: S608
        f"WHERE account IN ({_marks(count)}) AND minute >= ? AND move IN ({gains}) "
        "GROUP BY start ORDER BY start DESC LIMIT ?"
    )


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _parts(values: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(values), _SPLIT):
        yield values[start : start + _SPLIT]


def _bounded(limit: int) -> int:
    return min(max(limit, 1), LIMIT)


def _minute(at_ms: int) -> int:
    return at_ms // MINUTE_MS
