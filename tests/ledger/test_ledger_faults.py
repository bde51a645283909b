"""Bits that flip, files that are older or gone: the same entries, or a refusal that says what it is."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from archipel.ledger.location import open_log, read_log
from archipel.ledger.log import Log
from archipel.ledger.storage import LedgerCorrupt, LedgerInUse, LedgerUnavailable
from ledger_images import (
    ENTRIES,
    KEY,
    LAB,
    NAME,
    ORIGIN,
    PARTS,
    abruptly_ended,
    contents,
    copy,
    fill,
    flip,
    open_at,
    properly_ended,
)

FAST, SLOW = 36, 600
HEAD = PARTS["head file"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("images")
    return {
        "properly": properly_ended(folder / "properly"),
        "abruptly": abruptly_ended(folder / "abruptly"),
    }


def _entries_or_refusal(open_one: Callable[[], Log]) -> str:
    """Open, read all; `whole`, or the kind of refusal. Anything else fails the test."""
    try:
        log = open_one()
    except (LedgerCorrupt, LedgerUnavailable) as error:
        return type(error).__name__
    try:
        found = list(log.entries())
    except LedgerCorrupt:
        return "LedgerCorrupt"
    finally:
        log.close()
    assert found == ENTRIES, "a silently different ledger"
    return "whole"


def _campaign(image: Path, part: str, count: int, folder: Path) -> dict[str, int]:
    rng = random.Random(f"{image.name} {part}")
    outcomes: dict[str, int] = {}
    for number in range(count):
        place = folder / str(number)
        copy(image, place)
        where = flip(place / PARTS[part], rng)
        before = contents(place)
        try:
            read = _entries_or_refusal(lambda at=place: read_log(at / NAME, KEY))
            assert contents(place) == before, "reading changed a byte"
            found = _entries_or_refusal(lambda at=place: open_at(at))
        except Exception as error:
            raise AssertionError(f"{where}, {image.name} ended: {error!r}") from error
        assert (read == "whole") == (found == "whole"), where
        outcomes[found] = outcomes.get(found, 0) + 1
        shutil.rmtree(place)
    return outcomes


CASES = [
    ("properly", "database"),
    ("properly", "head file"),
    ("abruptly", "database"),
    ("abruptly", "write-ahead file"),
    ("abruptly", "head file"),
]


@pytest.mark.parametrize(("end", "part"), CASES)
def test_a_flipped_bit_never_gives_a_shorter_or_different_ledger(
    images: dict[str, Path], tmp_path: Path, end: str, part: str
) -> None:
    outcomes = _campaign(images[end], part, FAST, tmp_path)
    assert sum(outcomes.values()) == FAST
    if part == "write-ahead file":
        assert outcomes.get("LedgerCorrupt", 0) > FAST * 3 // 4, outcomes
    if part == "head file":
        assert outcomes == {"whole": FAST}, "two slots: the other one holds"


@pytest.mark.slow
@pytest.mark.parametrize(("end", "part"), CASES)
def test_many_flipped_bits_never_give_a_shorter_or_different_ledger(
    images: dict[str, Path], tmp_path: Path, end: str, part: str
) -> None:
    outcomes = _campaign(images[end], part, SLOW, tmp_path)
    print(end, part, outcomes)
    assert sum(outcomes.values()) == SLOW


def test_a_cut_off_ledger_is_named_and_every_byte_of_it_kept(
    images: dict[str, Path], tmp_path: Path
) -> None:
    place = tmp_path / "place"
    copy(images["abruptly"], place)
    wal = place / PARTS["write-ahead file"]
    whole = wal.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    wal.write_bytes(damaged)
    before = contents(place)
    for open_one in (open_at, open_at, lambda at: read_log(at / NAME, KEY)):
        with pytest.raises(LedgerCorrupt, match=r"cut off: it ends at entry \d+, .* over 60 entr"):
            open_one(place)
        assert contents(place) == before
    wal.write_bytes(whole)
    log = open_at(place)
    assert list(log.entries()) == ENTRIES
    log.close()


def test_a_ledger_without_its_write_ahead_file_is_named(
    images: dict[str, Path], tmp_path: Path
) -> None:
    place = tmp_path / "place"
    copy(images["abruptly"], place)
    (place / PARTS["write-ahead file"]).unlink()
    with pytest.raises(LedgerCorrupt, match=r"ends at entry 30, .* over 60 entries"):
        open_at(place)


def test_an_older_backup_put_back_is_named_as_what_it_is(tmp_path: Path) -> None:
    place, backup = tmp_path / "place", tmp_path / "backup"
    place.mkdir()
    log = open_at(place)
    fill(log, ENTRIES[:30])
    copy(place, backup)
    fill(log, ENTRIES[30:])
    log.close()
    newer = contents(place)
    for name in (PARTS["database"], PARTS["write-ahead file"]):
        shutil.copy(backup / name, place / name)
    with pytest.raises(LedgerCorrupt, match=r"ends at entry 30, .* older copy was put back"):
        open_at(place)
    for path in place.iterdir():
        path.unlink()
    for name, data in newer.items():
        (place / name).write_bytes(data)
    log = open_at(place)
    assert list(log.entries()) == ENTRIES
    log.close()


def _open_with_head(location: str, head_file: Path) -> Log:
    return open_log(location, ORIGIN, LAB, head_file)


@pytest.fixture
def other_location(request: pytest.FixtureRequest, location: str, tmp_path: Path) -> str:
    """A second place of the same storage, for a second history."""
    if not location.startswith("postgresql"):
        return str(tmp_path / "other.sqlite")
    import psycopg

    with psycopg.connect(location, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS other_history")
    return location.partition("&options")[0] + "&options=-csearch_path%3Dother_history"


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
    with pytest.raises(LedgerUnavailable, match=r"cannot write .*head"):
        log.append([b"x"])
    with pytest.raises(LedgerUnavailable, match="open the log again"):
        log.append([b"y"])
    log.close()
    os.close(read_only)
    again = open_at(place)
    assert again.read(3) == [b"x"], "it was durable before the head file failed"
    again.close()


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
