"""Bits that flip, files that are older or gone: the same entries, or a refusal that says what it is."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from archipel.ledger.location import read_log
from archipel.ledger.log import Log
from archipel.ledger.storage import LedgerCorrupt, LedgerUnavailable
from ledger_images import (
    ENTRIES,
    KEY,
    NAME,
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
        assert read == "whole" or found != "whole", where
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
