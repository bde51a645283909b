"""Entries of a ledger, read in full, a second process helping where there are many.

To look at an entry's form, signature and author costs about what folding it costs, and both together are what a
replay takes. So a second process (`examiner`) looks, and this one parses what holds and folds it. Until the second
is there, where it fails, and where there is but one core, entries are read here.
Laws: every entry is read by `read_entry`, in one of the two, before it is handed on; what the second says does not
hold is read here once more, so that the reason is told; the order stays.
"""

import logging
import os
import select
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, Self

from archipel.lab.entry import Entry, read_entry, read_examined
from archipel.lab.examiner import ANSWER, HEADER, READY
from archipel.ledger.tiles import BadTile, bundle

logger = logging.getLogger("archipel.lab")

HERE_FIRST = 3_000
"""Entries that are read here before a second process is begun: fewer take less time than its start."""
BUNDLE_ENTRIES, BUNDLE_BYTES = 64, 65_536
"""Of what is sent at once: the second process is never far behind, and a socket holds all that is under way."""
BUNDLES_AHEAD = 3
LIMIT_S = 60.0
"""For one answer, and to take one bundle."""
END_S = 5.0
PROGRAM = "archipel.lab.examiner"


class Read(NamedTuple):
    """An entry as it came, and what it says."""

    data: bytes
    entry: Entry


def read_entries(entries: Iterable[bytes], here_first: int = HERE_FIRST) -> Iterator[Read]:
    """Hand on every entry once all of `read_entry` was shown of it.

    Raises: as `read_entry`, in the place of the entry that does not hold.
    """
    coming = iter(entries)
    yield from map(_read_here, islice(coming, here_first))
    first = next(coming, None)
    if first is not None:
        with _Examiner() as examiner:
            yield from examiner.read(_bundles(first, coming))


def _read_here(data: bytes) -> Read:
    return Read(data, read_entry(data))


def _bundles(first: bytes, rest: Iterable[bytes]) -> Iterator[list[bytes]]:
    one, size = [first], len(first)
    for data in rest:
        if len(one) == BUNDLE_ENTRIES or size + len(data) > BUNDLE_BYTES:
            yield one
            one, size = [], 0
        one.append(data)
        size += len(data)
    yield one


class _Examiner:
    """The second process, from outside."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._line, theirs = socket.socketpair()
        self._line.settimeout(LIMIT_S)
        self._is_ready = False
        with theirs:
            if num_cores() > 1:
                self._start(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def read(self, bundles: Iterable[list[bytes]]) -> Iterator[Read]:
        """Their entries, some bundles behind what is sent."""
        sent = deque[list[bytes]]()
        for one in bundles:
            if not self._takes(one):
                yield from self._answered(sent)
                yield from map(_read_here, one)
                continue
            sent.append(one)
            if len(sent) > BUNDLES_AHEAD:
                yield from self._checked(sent.popleft())
        yield from self._answered(sent)

    def _answered(self, sent: deque[list[bytes]]) -> Iterator[Read]:
        while sent:
            yield from self._checked(sent.popleft())

    def _checked(self, one: list[bytes]) -> Iterator[Read]:
        num = self._num_good(len(one))
        for data in one[:num]:
            yield Read(data, read_examined(data))
        yield from map(_read_here, one[num:])

    def _takes(self, one: list[bytes]) -> bool:
        """Whether the bundle is under way to it."""
        if self._process is None or not self._is_there():
            return False
        try:
            data = bundle(one)
        except BadTile:  # more than an entry holds: refused here, with the reason
            return False
        try:
            self._line.sendall(HEADER.pack(len(one), len(data)) + data)
        except OSError as error:
            self._give_up(error)
            return False
        return True

    def _is_there(self) -> bool:
        if not self._is_ready and select.select([self._line], [], [], 0)[0]:
            self._is_ready = self._heard(len(READY)) == READY
        return self._is_ready

    def _num_good(self, width: int) -> int:
        answer = self._heard(ANSWER.size)
        num: int = ANSWER.unpack(answer)[0] if answer else 0
        return min(num, width)

    def _heard(self, num_bytes: int) -> bytes:
        """Nothing from one that has failed."""
        if self._process is None:
            return b""
        try:
            data = self._line.recv(num_bytes, socket.MSG_WAITALL)
            if len(data) == num_bytes:
                return data
            raise ConnectionError("it has ended")
        except OSError as error:
            self._give_up(error)
            return b""

    def _start(self, theirs: socket.socket) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603  this interpreter, a module of this package
                [sys.executable, "-P", "-m", PROGRAM],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for this process, which then ends that one
            )
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        logger.warning("entries are read in one process", extra={"reason": str(error)})
        self._end()

    def _end(self) -> None:
        self._line.close()
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
            return
        process.kill()
        process.wait()


def num_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
