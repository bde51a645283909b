"""The head outside the database: what is compared at opening, on both storages, and how it is kept."""

import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from archipel.ledger import head_file as head_file_module
from archipel.ledger.head_file import HeadFile
from archipel.ledger.location import open_log, read_log
from archipel.ledger.log import Log
from archipel.ledger.storage import LedgerCorrupt, LedgerInUse, LedgerStopped, LedgerUnavailable
from ledger_images import (
    ENTRIES,
    KEY,
    LAB,
    NAME,
    ORIGIN,
    PARTS,
    contents,
    fill,
    open_at,
    properly_ended,
)

HEAD = PARTS["head file"]


def _open_with_head(location: str, head_file: Path) -> Log:
    return open_log(location, ORIGIN, LAB, head_file)


def test_a_log_behind_its_head_file_is_refused_on_both_storages(
    location: str, tmp_path: Path
) -> None:
    head_file, newer = tmp_path / "kept" / "lab.head", tmp_path / "newer.head"
    log = _open_with_head(location, head_file)
    fill(log, ENTRIES[:9])
    log.close()
    other = open_log(tmp_path / "elsewhere", ORIGIN, LAB, newer)
    fill(other, ENTRIES[:30])
    other.close()
    shutil.copy(newer, head_file)
    for _ in range(2):
        with pytest.raises(LedgerCorrupt, match=r"ends at entry 9, .* over 30 entries"):
            _open_with_head(location, head_file)
    with pytest.raises(LedgerCorrupt, match="cut off"):
        read_log(location, KEY, head_file)
    fill(again := open_log(location, ORIGIN, LAB, tmp_path / "unknown.head"), ENTRIES[9:12])
    again.close()


@pytest.mark.parametrize("extra", [0, 6])
def test_another_history_is_refused_at_the_same_size_and_at_a_larger_one(
    location: str, tmp_path: Path, extra: int
) -> None:
    head_file, theirs = tmp_path / "lab.head", tmp_path / "theirs.head"
    log = _open_with_head(location, head_file)
    fill(log, ENTRIES[: 9 + extra])
    log.close()
    other = open_log(tmp_path / "elsewhere", ORIGIN, LAB, theirs)
    fill(other, ENTRIES[30:39])
    other.close()
    shutil.copy(theirs, head_file)
    with pytest.raises(LedgerCorrupt, match=r"first 9 entries .* different histories"):
        _open_with_head(location, head_file)
    with pytest.raises(LedgerCorrupt, match="different histories"):
        read_log(location, KEY, head_file)


def test_a_head_file_that_a_crash_left_behind_catches_up(location: str, tmp_path: Path) -> None:
    head_file, older = tmp_path / "lab.head", tmp_path / "older.head"
    log = _open_with_head(location, head_file)
    fill(log, ENTRIES[:9])
    shutil.copy(head_file, older)
    fill(log, ENTRIES[9:12])
    newest = head_file.read_bytes()
    log.close()
    shutil.copy(older, head_file)
    reader = read_log(location, KEY, head_file)
    assert reader.size == 12
    reader.close()
    log = _open_with_head(location, head_file)
    assert list(log.entries()) == ENTRIES[:12]
    assert log.head.note in head_file.read_bytes()
    assert log.head.note in newest
    log.close()


def test_a_deleted_database_is_refused_and_nothing_is_made_in_its_place(
    location: str, tmp_path: Path
) -> None:
    head_file = tmp_path / "lab.head"
    log = _open_with_head(location, head_file)
    fill(log, ENTRIES[:9])
    log.close()
    if location.startswith("postgresql"):
        import psycopg

        with psycopg.connect(location, autocommit=True) as connection:
            connection.execute(
                "DROP TABLE archipel_entry, archipel_tree_head, archipel_ledger_format"
            )
    else:
        Path(location).unlink()
    for _ in range(2):
        with pytest.raises(LedgerCorrupt, match="over 9 entries: the database was deleted"):
            _open_with_head(location, head_file)
    with pytest.raises(LedgerCorrupt, match="deleted"):
        read_log(location, KEY, head_file)
    assert location.startswith("postgresql") or not Path(location).exists()


@pytest.mark.parametrize("size", [0, 4096])
def test_an_emptied_database_is_refused_and_left_empty(tmp_path: Path, size: int) -> None:
    properly_ended(tmp_path / "place")
    path = tmp_path / "place" / NAME
    path.write_bytes(path.read_bytes()[:size])
    before = contents(tmp_path / "place")
    with pytest.raises((LedgerCorrupt, LedgerUnavailable)):
        open_at(tmp_path / "place")
    assert contents(tmp_path / "place") == before


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\0" * 8192, b"garbage" * 1171, b"\xff" * 8192, b"x" * 100, b"y" * 10**6],
    ids=["empty", "zeros", "text", "ones", "short", "long"],
)
def test_garbage_in_the_head_file_is_refused_with_advice(tmp_path: Path, garbage: bytes) -> None:
    place = properly_ended(tmp_path / "place")
    (place / HEAD).write_bytes(garbage)
    for open_one in (open_at, lambda at: read_log(at / NAME, KEY)):
        with pytest.raises(LedgerCorrupt, match=r"\.head is not by .* move the file away"):
            open_one(place)
    assert (place / HEAD).read_bytes() == garbage
    (place / HEAD).unlink()
    log = open_at(place)
    assert list(log.entries()) == ENTRIES
    log.close()
    assert log.head.note in (place / HEAD).read_bytes()


@pytest.mark.parametrize("kept_bytes", [0, 1, 50, 100])
@pytest.mark.parametrize("size", [0, 3, 6, 9])
def test_a_torn_write_of_the_newest_head_leaves_the_one_before(
    tmp_path: Path, size: int, kept_bytes: int
) -> None:
    log = open_at(tmp_path)
    fill(log, ENTRIES[:size])
    before = (tmp_path / HEAD).read_bytes()
    fill(log, ENTRIES[size : size + 3])
    log.close()
    after = bytearray((tmp_path / HEAD).read_bytes())
    slots = [at for at in (0, 4096) if after[at : at + 4096] != before[at : at + 4096]]
    assert len(slots) == 1, "one slot a write"
    torn = slice(slots[0] + kept_bytes, slots[0] + 4096)
    after[torn] = before[torn]
    (tmp_path / HEAD).write_bytes(after)
    assert HeadFile(tmp_path / HEAD, KEY, writable=False).size == size
    log = open_at(tmp_path)
    assert list(log.entries()) == ENTRIES[: size + 3]
    log.close()
    assert HeadFile(tmp_path / HEAD, KEY, writable=False).size == size + 3


def test_two_ledgers_of_one_lab_cannot_grow_at_once(location: str, tmp_path: Path) -> None:
    head_file = tmp_path / "lab.head"
    log = _open_with_head(location, head_file)
    with pytest.raises(LedgerInUse, match="another process"):
        open_log(tmp_path / "second.sqlite", ORIGIN, LAB, head_file)
    log.append([b"one"])
    log.close()
    with pytest.raises(LedgerCorrupt, match="another one is meant"):
        open_log(tmp_path / "second.sqlite", ORIGIN, LAB, head_file)


def test_a_head_file_that_cannot_be_written_stops_the_log(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    log = open_at(place)
    fill(log, ENTRIES[:3])
    read_only = os.open(place / HEAD, os.O_RDONLY)
    kept = log._head_file
    os.dup2(read_only, kept._descriptor)
    with pytest.raises(LedgerStopped, match=r"cannot write .*head"):
        log.append([b"x"])
    assert log.failure is not None
    with pytest.raises(LedgerStopped, match="open the log again"):
        log.append([b"y"])
    log.close()
    os.close(read_only)
    again = open_at(place)
    assert again.read(3) == [b"x"], "it was durable before the head file failed"
    again.close()


@pytest.mark.parametrize("is_closed_next", [False, True], ids=["by the next head", "at the end"])
def test_a_flush_that_failed_behind_the_writers_back_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_closed_next: bool
) -> None:
    log = open_at(tmp_path)
    fill(log, ENTRIES[:3])

    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(head_file_module, "_synchronise", broken)
    log.append(ENTRIES[3:4])
    if not is_closed_next:
        with pytest.raises(LedgerUnavailable, match=r"cannot write .*head: Input/output error"):
            log.append(ENTRIES[4:5])
        with pytest.raises(LedgerUnavailable, match="open the log again"):
            log.append(ENTRIES[5:6])
        log.close()
    else:
        with pytest.raises(LedgerUnavailable, match=r"cannot write .*head: Input/output error"):
            log.close()
    monkeypatch.undo()
    again = open_at(tmp_path)
    assert list(again.entries()) == ENTRIES[: again.size]
    assert again.size == (4 if is_closed_next else 5), "the rows come first"
    assert HeadFile(tmp_path / HEAD, KEY, writable=False).size == again.size
    again.close()


def test_heads_go_to_the_two_slots_in_turn_also_after_opening_again(tmp_path: Path) -> None:
    changed: list[list[int]] = []
    before = bytes(8192)
    for size in range(1, 7):
        log = open_at(tmp_path)
        fill(log, ENTRIES[size - 1 : size])
        log.close()
        after = (tmp_path / HEAD).read_bytes()
        changed.append([at for at in (0, 4096) if before[at : at + 4096] != after[at : at + 4096]])
        before = after
    assert all(len(slots) == 1 for slots in changed[1:]), changed
    assert all(one != two for one, two in pairwise(changed[1:])), changed


def test_reading_beside_a_writer_that_is_between_its_two_writes(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    log = open_at(place)
    fill(log, ENTRIES[:3])
    kept, log._head_file = log._head_file, None
    fill(log, ENTRIES[3:6])
    reader = read_log(place / NAME, KEY)
    assert reader.size == 6
    reader.close()
    log._head_file = kept
    fill(log, ENTRIES[6:9])
    reader = read_log(place / NAME, KEY)
    assert reader.size == 9
    reader.close()
    log.close()
