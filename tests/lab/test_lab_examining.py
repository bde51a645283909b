"""Entries read with the help of a second process are the entries that one process reads, whatever becomes of it."""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from archipel.identity import BadSignature
from archipel.lab import examining
from archipel.lab.entry import Entry, read_entry
from archipel.lab.examiner import ANSWER, HEADER, READY, serve
from archipel.lab.examining import Read, read_entries
from archipel.records.statements import InvalidRecord

VECTORS = Path(__file__).parents[1] / "vectors"
BUNDLE_ENTRIES = 8
Serve = Callable[[socket.socket], None]


@pytest.fixture(scope="module")
def ledger() -> list[bytes]:
    """Several bundles of entries: the same few again and again, which is nothing to whoever reads one by one."""
    kept = json.loads((VECTORS / "ledger-1.json").read_text())
    entries = [text.encode() for text in kept["entries"]]
    return (entries * 2)[: 5 * BUNDLE_ENTRIES + 7]


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Callable[[Serve], threading.Event]:
    """Let a function stand for the second process; the event says that it has spoken."""

    def stand_in(serving: Serve) -> threading.Event:
        spoken = threading.Event()

        def run(line: socket.socket) -> None:
            with line:
                serving(cast(socket.socket, Heard(line, spoken)))

        def start(examiner: object, theirs: socket.socket) -> None:
            thread = threading.Thread(target=run, args=(theirs.dup(),))
            thread.start()
            examiner._process = Standing(thread)  # type: ignore[attr-defined]

        monkeypatch.setattr(examining._Examiner, "_start", start)
        monkeypatch.setattr(examining, "num_cores", lambda: 2)
        monkeypatch.setattr(examining, "BUNDLE_ENTRIES", BUNDLE_ENTRIES)
        return spoken

    return stand_in


class Heard:
    """A line, and whether anything was said on it."""

    def __init__(self, line: socket.socket, spoken: threading.Event) -> None:
        self._line, self._spoken = line, spoken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._line, name)

    def sendall(self, data: bytes) -> None:
        """On the line first: whoever waits for the event finds it there."""
        self._line.sendall(data)
        self._spoken.set()


class Standing:
    """A thread as a process."""

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread

    def terminate(self) -> None:
        """It ends by itself when its line does."""

    def wait(self, limit_s: float) -> None:
        self._thread.join(limit_s)


def once_spoken(entries: list[bytes], spoken: threading.Event) -> Iterator[bytes]:
    yield from entries[:BUNDLE_ENTRIES]
    assert spoken.wait(10)
    yield from entries[BUNDLE_ENTRIES:]


def gather(found: list[bytes], reading: Iterator[Read]) -> None:
    """What was handed on before a fault stays."""
    for data, _ in reading:
        found.append(data)


def asked_of(line: socket.socket) -> int:
    """Take one bundle; how many entries it has. ConnectionError: there are no more."""
    header = line.recv(HEADER.size, socket.MSG_WAITALL)
    if len(header) < HEADER.size:
        raise ConnectionError
    width, num_bytes = HEADER.unpack(header)
    line.recv(num_bytes, socket.MSG_WAITALL)
    return int(width)


def dies_at_once(line: socket.socket) -> None:
    line.sendall(READY)


def dies_in_the_middle(line: socket.socket) -> None:
    line.sendall(READY)
    line.sendall(ANSWER.pack(asked_of(line)))
    asked_of(line)


def believes_nothing(line: socket.socket) -> None:
    line.sendall(READY)
    with contextlib.suppress(OSError):
        while True:
            asked_of(line)
            line.sendall(ANSWER.pack(0))


def says_nothing(line: socket.socket) -> None:
    line.sendall(READY)
    with contextlib.suppress(OSError):
        while True:
            asked_of(line)


@pytest.mark.parametrize(
    "serving", [serve, dies_at_once, dies_in_the_middle, believes_nothing, says_nothing]
)
def test_whatever_becomes_of_the_second_process_every_entry_is_read_in_its_place(
    ledger: list[bytes],
    beside: Callable[[Serve], threading.Event],
    serving: Serve,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if serving is says_nothing:
        monkeypatch.setattr(examining, "LIMIT_S", 0.05)
    spoken = beside(serving)
    found = list(read_entries(once_spoken(ledger, spoken), here_first=3))
    assert [data for data, _ in found] == ledger
    assert [entry for _, entry in found] == [read_entry(data) for data in ledger]


def test_what_the_second_process_has_found_to_hold_is_not_verified_again(
    ledger: list[bytes],
    beside: Callable[[Serve], threading.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[str] = []

    def looks(data: bytes) -> Entry:
        looked_at.append(threading.current_thread().name)
        return read_entry(data)

    monkeypatch.setattr(examining, "read_entry", looks)
    spoken = beside(serve)
    assert len(list(read_entries(once_spoken(ledger, spoken), here_first=3))) == len(ledger)
    assert 3 <= len(looked_at) <= 3 + 2 * BUNDLE_ENTRIES, "but for what came before it was there"


@pytest.mark.parametrize("place", [2, 3 + 2 * BUNDLE_ENTRIES, 5 * BUNDLE_ENTRIES])
@pytest.mark.parametrize("at_end", [True, False])
def test_an_entry_that_does_not_hold_is_named_once_all_before_it_were_handed_on(
    ledger: list[bytes], beside: Callable[[Serve], threading.Event], place: int, at_end: bool
) -> None:
    sound = ledger[place]
    at = sound.index(b'"sig":"') + 12 if at_end else 3
    spoilt = sound[:at] + (b"A" if sound[at : at + 1] != b"A" else b"B") + sound[at + 1 :]
    with pytest.raises((BadSignature, InvalidRecord)) as wanted:
        read_entry(spoilt)
    entries = [*ledger[:place], spoilt, *ledger[place + 1 :]]
    reading = read_entries(once_spoken(entries, beside(serve)), here_first=3)
    found: list[bytes] = []
    with pytest.raises(type(wanted.value), match=re.escape(str(wanted.value))):
        gather(found, reading)
    assert found == ledger[:place]


def test_one_core_alone_starts_nothing(
    ledger: list[bytes],
    beside: Callable[[Serve], threading.Event],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoken = beside(serve)
    monkeypatch.setattr(examining, "num_cores", lambda: 1)
    assert len(list(read_entries(ledger, here_first=3))) == len(ledger)
    assert not spoken.is_set()


def test_a_real_second_process_helps_and_ends_with_the_reading(ledger: list[bytes]) -> None:
    if examining.num_cores() < 2:
        pytest.skip("one core: nothing is started")
    examiner = examining._Examiner()
    process = examiner._process
    assert process is not None
    with examiner:
        assert examiner._heard(len(READY)) == READY
        examiner._is_ready = True
        bundles = [ledger[:BUNDLE_ENTRIES], ledger[BUNDLE_ENTRIES : 2 * BUNDLE_ENTRIES]]
        found = [each.data for each in examiner.read(bundles)]
        assert examiner._process is not None, "it was still there at the end"
    assert found == ledger[: 2 * BUNDLE_ENTRIES]
    assert process.poll() is not None
