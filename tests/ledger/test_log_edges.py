"""A log at its edges: page by page, as full as may be, in doubt, and with nothing left open."""

import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from archipel.ledger import log as log_module
from archipel.ledger import reader as reader_module
from archipel.ledger.location import open_log, read_first_entry
from archipel.ledger.log import MAX_BATCH_ENTRIES, MAX_READ_ENTRIES, Log
from archipel.ledger.merkle import leaf_hash, root_of
from archipel.ledger.storage import (
    EntryRow,
    HeadRow,
    LedgerInUse,
    LedgerMissing,
    LedgerStopped,
    LedgerUnavailable,
)
from ledger_images import ENTRIES, KEY, LAB, ORIGIN
from memory import MemoryStorage


@pytest.mark.parametrize("page", [1, 3, 4, 5])
def test_a_log_is_the_same_however_it_is_paged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    path = str(tmp_path / "log")
    log = open_log(path, ORIGIN, LAB)
    for start in (0, 5, 10):
        log.append(ENTRIES[start : start + 5])
    head = log.head
    log.close()
    monkeypatch.setattr(reader_module, "HASH_PAGE", page)
    monkeypatch.setattr(reader_module, "ENTRY_PAGE", page)
    monkeypatch.setattr(log_module, "MAX_READ_ENTRIES", page)
    log = open_log(path, ORIGIN, LAB)
    assert log.head == head
    assert log.verify() == 4
    assert log.leaf_hashes() == [leaf_hash(entry) for entry in ENTRIES[:15]]
    assert [log.read(start, page) for start in range(15)] == [
        ENTRIES[start : min(start + page, 15)] for start in range(15)
    ]
    log.append(ENTRIES[15:16])
    assert log.head.root == root_of(ENTRIES[:16])
    log.close()


def test_the_largest_batch_is_taken_whole(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", ORIGIN, LAB)
    log.append([b"x"] * MAX_BATCH_ENTRIES)
    assert log.read(0, MAX_READ_ENTRIES) == [b"x"] * MAX_BATCH_ENTRIES
    log.close()


class Mute(MemoryStorage):
    """A database that stores what it is given, and then says that it could not."""

    def __init__(self) -> None:
        super().__init__()
        self.is_mute = False

    def append(self, entries: Iterable[EntryRow], head: HeadRow) -> None:
        super().append(entries, head)
        if self.is_mute:
            raise LedgerUnavailable("the connection broke as the commit was acknowledged")


def test_a_log_that_does_not_know_whether_it_grew_refuses_all_further_work() -> None:
    storage = Mute()
    log = Log(storage, KEY, LAB)
    log.append(ENTRIES[:3])
    assert log.failure is None
    storage.is_mute = True
    with pytest.raises(LedgerUnavailable, match="acknowledged"):
        log.append(ENTRIES[3:5])
    storage.is_mute = False
    for call in (
        lambda: log.append([b"x"]),
        lambda: log.read(0),
        log.verify,
        log.leaf_hashes,
        log.heads,
    ):
        with pytest.raises(LedgerStopped, match="open the log again and replay it"):
            call()
    assert isinstance(log.failure, LedgerStopped)
    assert list(Log(storage, KEY, LAB).entries()) == ENTRIES[:5]


def num_open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_the_first_entry_can_be_read_without_a_key_and_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with pytest.raises(LedgerMissing):
        read_first_entry(path)
    open_log(path, ORIGIN, LAB).close()
    with pytest.raises(LedgerMissing, match="no entries yet"):
        read_first_entry(path)
    log = open_log(path, ORIGIN, LAB)
    log.append(ENTRIES[:3])
    assert read_first_entry(path) == ENTRIES[0]
    log.close()
    before = num_open_files()
    assert read_first_entry(path) == ENTRIES[0]
    assert num_open_files() == before


def test_a_writer_that_was_refused_leaves_nothing_open(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    log = open_log(path, ORIGIN, LAB)
    before = num_open_files()
    for head_file in (None, tmp_path / "another.head"):
        with pytest.raises(LedgerInUse, match="another process"):
            open_log(path, ORIGIN, LAB, head_file)
    assert num_open_files() == before
    log.close()


def test_a_ledger_makes_the_folder_that_it_is_to_live_in(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "log"
    log = open_log(path, ORIGIN, LAB)
    log.append(ENTRIES[:3])
    log.close()
    log = open_log(path, ORIGIN, LAB)
    assert list(log.entries()) == ENTRIES[:3]
    log.close()


class Waiting(MemoryStorage):
    """A database that answers a reader when it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.allowed = threading.Event(), threading.Event()

    def entries(self, start: int, limit: int) -> list[EntryRow]:
        self.asked.set()
        assert self.allowed.wait(10.0)
        return super().entries(start, limit)


def test_who_reads_keeps_nobody_from_appending() -> None:
    rows, slow = MemoryStorage(), Waiting()
    log = Log(rows, KEY, LAB, open_reader=lambda: slow)
    log.append(ENTRIES[:3])
    slow._entries = rows._entries
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.extend(log.read(0)))
    reader.start()
    assert slow.asked.wait(10.0)
    appender = threading.Thread(target=log.append, args=(ENTRIES[3:5],))
    appender.start()
    appender.join(10.0)
    assert not appender.is_alive(), "the append waits for the reader"
    assert log.size == 5
    slow.allowed.set()
    reader.join(10.0)
    assert found == ENTRIES[:3], "what the head covered when it was asked"
    assert log.read(0) == ENTRIES[:5]


def test_a_reader_that_failed_is_opened_anew() -> None:
    class Broken(MemoryStorage):
        def entries(self, start: int, limit: int) -> list[EntryRow]:
            raise LedgerUnavailable("the connection broke")

    rows = MemoryStorage()
    opened: list[MemoryStorage] = [rows, Broken()]
    log = Log(rows, KEY, LAB, open_reader=lambda: opened.pop())
    log.append(ENTRIES[:3])
    with pytest.raises(LedgerUnavailable, match="broke"):
        log.read(0)
    assert log.read(0) == ENTRIES[:3]
    assert opened == []


def test_a_writer_reads_what_it_appended_through_a_connection_of_its_own(tmp_path: Path) -> None:
    log = open_log(tmp_path / "log", ORIGIN, LAB)
    before = num_open_files()
    for number, entry in enumerate(ENTRIES[:20]):
        log.append([entry])
        assert log.read(number, 1) == [entry]
    assert num_open_files() > before
    log.close()
    assert not (tmp_path / "log-wal").exists(), "the writer was the last to close"
    with pytest.raises(LedgerUnavailable, match="this log is closed"):
        log.read(0)
