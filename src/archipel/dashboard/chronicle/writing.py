"""Whoever writes a chronicle: told entries in order, one transaction a batch.

Law: after each batch the file is what the entries so far make it, and a killed writer's file is that of the batch before;
what was written is not written again, and nothing is left out.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Self

from archipel.dashboard.chronicle.file import BROKEN, opened_for_writing, unusable
from archipel.dashboard.chronicle.gathered import (
    Added,
    Gathered,
    Key,
)
from archipel.dashboard.chronicle.known import MOST, Lease, Totals
from archipel.dashboard.told import Told
from archipel.records.batches import Batches

MAX_BATCH = 65_536
"""Entries told at once: they are held in memory."""
MAX_NAMES = 262_144
"""Whose numbers are kept at hand."""


class ChronicleRefused(ValueError):
    """Entries that do not follow what the file holds, or another lab's file."""


class ChronicleWriter:
    """Of one lab's chronicle at `path`, which is made if there is none; a context manager."""

    def __init__(self, path: Path, lab: str) -> None:
        """Open it.

        Raises:
            ChronicleRefused: it is another lab's.
            ChronicleUnusable: another program's file is there, or the disk says no.
        """
        self._path = path
        self._db = opened_for_writing(path)
        self._names: dict[str, int] = {}
        try:
            self._claim(lab)
        except BROKEN as error:
            self.close()
            raise unusable(path, error) from None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @property
    def size(self) -> int:
        """Entries that it has."""
        try:
            return int(self._db.execute("SELECT size FROM chronicle").fetchone()[0])
        except BROKEN as error:
            raise unusable(self._path, error) from None

    def take(self, batch: Sequence[Told]) -> None:
        """Entries one after the other; those that it has are passed over.

        Raises:
            ChronicleRefused: too many, out of order, or some are missing before them; nothing was written.
            ChronicleUnusable: the disk says no; nothing was written.
        """
        _check(batch)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._write(batch)
            except BaseException:
                self._names.clear()  # some were given within what is undone
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except (*BROKEN, OverflowError) as error:
            raise unusable(self._path, error) from None

    def name(self, word: str) -> int:
        """See `Known`."""
        found = self._names.get(word)
        if found is not None:
            return found
        if len(self._names) >= MAX_NAMES:
            self._names.clear()
        row = self._db.execute("SELECT id FROM name WHERE word = ?", (word,)).fetchone()
        number = row[0] if row else self._given(word)
        self._names[word] = number
        return int(number)

    def _given(self, word: str) -> int:
        """The next number: numbers follow the order in which words come up, and so the ledger's."""
        return int(
            self._db.execute(
                "INSERT INTO name SELECT max(id) + 1, ? FROM name RETURNING id", (word,)
            ).fetchall()[0][0]
        )

    def lease(self, work: str) -> Lease | None:
        """See `Known`."""
        query = "SELECT run, node, entry, at_ms, version, groups FROM lease WHERE work = ?"
        row = self._db.execute(query, (work,)).fetchone()
        if row is None:
            return None
        *facts, groups = row
        return Lease(*[*facts, tuple(json.loads(groups))])

    def totals(self, run: int) -> Totals | None:
        """See `Known`."""
        query = "SELECT stopped, paid_micro, units, tokens, bytes FROM run WHERE id = ?"
        row = self._db.execute(query, (run,)).fetchone()
        return None if row is None else Totals(*row)

    def batches(self, run: int) -> Batches | None:
        """See `Known`."""
        query = "SELECT versions, batch_groups, refill FROM run WHERE id = ?"
        row = self._db.execute(query, (run,)).fetchone()
        return None if row is None or row[1] is None else Batches(*row)

    def _claim(self, lab: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO chronicle VALUES (0, ?, 0)", (lab,))
        found = self._db.execute("SELECT lab FROM chronicle").fetchone()[0]
        if found != lab:
            raise ChronicleRefused(
                f"{self._path} is the chronicle of {found}, not of {lab}; name another file, or delete this one"
            )

    def _write(self, batch: Sequence[Told]) -> None:
        size = self.size
        fresh = [told for told in batch if told.number >= size]
        if not fresh:
            return
        if fresh[0].number != size:
            raise ChronicleRefused(
                f"entry {fresh[0].number} does not follow the {size} entries that {self._path} has; tell it from "
                f"entry {size} on"
            )
        gathered = Gathered(self)
        for told in fresh:
            gathered.take(told)
        self._put(gathered)
        self._db.execute("UPDATE chronicle SET size = ?", (fresh[-1].number + 1,))

    def _put(self, rows: Gathered) -> None:
        many = self._db.executemany
        many(RUNS, rows.runs)
        totals = ((each.stopped, *each.so_far, run) for run, each in rows.totals.items())
        many(TOTALS, totals)
        self._put_leases(rows)
        many(POINTS, rows.points)
        many(EXAMS, rows.exams)
        for kind, row in rows.rounds:
            self._db.execute(ROUNDS[kind], row)
        many(WITHDRAWALS, rows.withdrawals)
        many(GROWTH, _flat(rows.growth))
        many(AGES, _flat(rows.ages))
        many(COSTS, _flat(rows.costs))
        many(WORK, _flat(rows.work))
        many(MOVEMENTS, _flat(rows.movements, lambda each: (each.first_ms,)))

    def _put_leases(self, rows: Gathered) -> None:
        self._db.executemany("DELETE FROM lease WHERE node = ? AND entry < ?", rows.left)
        self._db.executemany("DELETE FROM lease WHERE run = ? AND version < ?", rows.behind)
        ended = [(work,) for work, each in rows.leases.items() if each is None]
        self._db.executemany("DELETE FROM lease WHERE work = ?", ended)
        self._db.executemany(
            LEASES,
            [
                (
                    work,
                    each.run,
                    each.node,
                    each.entry,
                    each.at_ms,
                    each.version,
                    _list(each.groups),
                )
                for work, each in rows.leases.items()
                if each is not None
            ],
        )


def _check(batch: Sequence[Told]) -> None:
    if len(batch) > MAX_BATCH:
        raise ChronicleRefused(f"{len(batch)} entries at once; at most {MAX_BATCH} are taken")
    for one, other in pairwise(batch):
        if other.number != one.number + 1:
            raise ChronicleRefused(
                f"entry {other.number} was told after entry {one.number}; expected entry {one.number + 1}"
            )


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _list(groups: Iterable[int]) -> str:
    return json.dumps([*groups], separators=(",", ":"))


def _flat(
    rows: dict[Key, Added], more: Callable[[Added], tuple[int, ...]] = lambda each: ()
) -> list[Key]:
    return [(*key, *each.sums, *more(each), each.first, each.last) for key, each in rows.items()]


def _adding(table: str, keys: int, sums: Sequence[str], more: int = 0) -> str:
    """An insertion that adds to the row that is there."""
    added = [f"{name} = min({name} + excluded.{name}, {MOST})" for name in sums]
    values = _marks(keys + len(sums) + more + 2)
    changes = ", ".join([*added, "last = excluded.last"])
    return f"INSERT INTO {table} VALUES ({values}) ON CONFLICT DO UPDATE SET {changes}"  # noqa: S608  our own words


RUNS = "INSERT INTO run VALUES (?, ?, ?, ?, ?, ?, ?, NULL, 0, 0, 0, 0)"
TOTALS = "UPDATE run SET stopped = ?, paid_micro = ?, units = ?, tokens = ?, bytes = ? WHERE id = ?"
LEASES = "INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?, ?)"
POINTS = "INSERT INTO point VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
EXAMS = (
    "INSERT INTO exam VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET entry = excluded.entry, "
    "at_ms = excluded.at_ms, node = excluded.node, metrics = excluded.metrics"
)
WITHDRAWALS = "INSERT INTO withdrawal VALUES (?, ?, ?, ?, ?, ?)"
GROWTH = _adding("growth", 1, ["entries"])
AGES = _adding("age", 3, ["groups"])
COSTS = _adding("cost", 3, ["micro", "count"])
WORK = _adding("work", 4, ["answers", "units", "tokens", "bytes", "busy_ms"])
MOVEMENTS = _adding("movement", 4, ["in_micro", "out_micro", "count"], more=1)
ROUNDS = {
    "market.opened": "INSERT INTO round VALUES (?, ?, ?, ?, ?, 0, 0, NULL, NULL, NULL, NULL, NULL)",
    "bid.committed": "UPDATE round SET seals = seals + 1 WHERE run = ? AND number = ?",
    "bid.revealed": "UPDATE round SET reveals = reveals + 1 WHERE run = ? AND number = ?",
    "market.cleared": "UPDATE round SET cleared = ?, cleared_ms = ?, price_micro = ?, bought = ?, short = ? "
    "WHERE run = ? AND number = ?",
}
