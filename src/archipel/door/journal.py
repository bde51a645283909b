"""What a door has promised, on its own disk before anybody is told: one SQLite file, one thread that writes it.

Parts: `Journal` (`do` writes, `look` reads). Laws: what `do` has returned is on the disk; acts are done in the order in
which they were asked for, each whole or not at all; acts that wait together share one commit, and so one flush.
"""

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from archipel.door.refusals import Declined
from archipel.door.tables import FORMAT, TABLES

FILE = "door.sqlite"
MAX_TOGETHER = 256
"""Acts in one commit."""
MAX_WAITING = 8192
"""Acts that wait; whoever brings more is asked to come again."""
NUM_READERS = 4
NOT_NOW = (sqlite3.Error, MemoryError, SystemError)
"""How SQLite says that the disk or the system gives nothing more; the last, where memory ends inside of Python's own module."""
CLOSE_S = 60.0
P = ParamSpec("P")
T = TypeVar("T")
Act = tuple[Callable[[sqlite3.Connection], Any], "Future[Any]"]


class JournalBroken(RuntimeError):
    """The disk did not take it, and nothing of it counts; or it, or the system, does not let it be read now."""


class Journal:
    """One door's."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError, sqlite3.Error, JournalBroken: the file cannot be used, is in use, or is of another format."""
        path = folder / FILE
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._acts: queue.Queue[Act | None] = queue.Queue(MAX_WAITING)
        self._writes = _opened(path)
        _laid_out(self._writes, path)
        self._path, self._mine, self._reads = path, threading.local(), list[sqlite3.Connection]()
        self._readers = ThreadPoolExecutor(NUM_READERS, "door-reads")
        self._writer = threading.Thread(target=self._write, name="door-journal", daemon=True)
        self.num_acts = self.num_commits = 0
        self._writer.start()

    async def do(
        self,
        act: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Let `act` change the file; back when that is on the disk. What it raises is raised, and it changed nothing.

        Raises:
            Declined: too many wait. JournalBroken: the disk did not take it.
        """
        promise: Future[T] = Future()
        try:
            self._acts.put_nowait((partial(_called, act, args, kwargs), promise))
        except queue.Full:
            raise Declined("unavailable", "the door's disk is behind; ask again", 5) from None
        return await asyncio.wrap_future(promise)

    async def look(
        self,
        act: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Let `act` read what is on the disk, beside the one that writes. Raises JournalBroken: it cannot be read now."""

        def read() -> T:
            try:
                return act(self._reading(), *args, **kwargs)
            except (sqlite3.OperationalError, MemoryError, SystemError) as error:
                said = str(error) or type(error).__name__
                raise JournalBroken(f"the door's journal could not be read ({said})") from None

        return await asyncio.get_running_loop().run_in_executor(self._readers, read)

    def _reading(self) -> sqlite3.Connection:
        """Of the thread that looks."""
        if not hasattr(self._mine, "db"):
            db = _opened(self._path)
            db.execute("PRAGMA query_only=ON")
            self._mine.db = db
            self._reads.append(db)
        return self._mine.db  # type: ignore[no-any-return]  # a thread's own attribute

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        self._acts.put(None)
        self._writer.join(CLOSE_S)
        self._readers.shutdown(wait=True)
        for each in self._reads:
            each.close()
        self._writes.close()

    def _write(self) -> None:
        """The thread."""
        while True:
            together, is_last = self._waiting()
            if together:
                self._commit(together)
            if is_last:
                return

    def _waiting(self) -> tuple[list[Act], bool]:
        """All that wait now, at least one; whether the end was among them."""
        together: list[Act] = []
        found = self._acts.get()
        while found is not None:
            if found[1].set_running_or_notify_cancel():  # else whoever asked has hung up
                together.append(found)
            if len(together) >= MAX_TOGETHER:
                return together, False
            try:
                found = self._acts.get_nowait()
            except queue.Empty:
                return together, False
        return together, True

    def _commit(self, together: list[Act]) -> None:
        """Each in a savepoint of its own, all in one transaction."""
        ends: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            self._writes.execute("BEGIN IMMEDIATE")
            for act, promise in together:
                ends.append((promise, *self._one(act)))
            self._writes.execute("COMMIT")
        except NOT_NOW as error:
            with contextlib.suppress(*NOT_NOW):
                self._writes.execute("ROLLBACK")
            said = str(error) or type(error).__name__
            why = JournalBroken(f"the door's journal could not be written ({said})")
            for _, promise in together:
                promise.set_exception(why)
            return
        self.num_acts += len(together)
        self.num_commits += 1
        for promise, result, fault in ends:
            if fault is None:
                promise.set_result(result)
            else:
                promise.set_exception(fault)

    def _one(self, act: Callable[[sqlite3.Connection], Any]) -> tuple[Any, BaseException | None]:
        """What came of it. Raises sqlite3.OperationalError, MemoryError, SystemError: the whole commit fails."""
        self._writes.execute("SAVEPOINT act")
        try:
            result, fault = act(self._writes), None
        except (sqlite3.OperationalError, MemoryError, SystemError):
            raise
        except Exception as error:  # noqa: BLE001  whoever asked for the act is told
            self._writes.execute("ROLLBACK TO act")
            result, fault = None, error
        self._writes.execute("RELEASE act")
        return result, fault


def _called(
    act: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], db: sqlite3.Connection
) -> T:
    return act(db, *args, **kwargs)


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False, timeout=10.0, isolation_level=None)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA foreign_keys=ON")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _laid_out(db: sqlite3.Connection, path: Path) -> None:
    """Tables that are not there yet."""
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, FORMAT):
        raise JournalBroken(
            f"{path} is of format {found}; this program reads {FORMAT}: open it with the program that wrote it"
        )
    db.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version={FORMAT}; COMMIT;")
