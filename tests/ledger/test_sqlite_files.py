"""What lies on the disk: write-ahead files that are emptied, read-only media, formats to come."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from archipel.ledger import formats, sqlite_storage
from archipel.ledger.location import open_log, read_log
from archipel.ledger.storage import LedgerCorrupt, LedgerUnavailable
from ledger_images import (
    ENTRIES,
    KEY,
    LAB,
    NAME,
    ORIGIN,
    abruptly_ended,
    fill,
    open_at,
    properly_ended,
)

WAL = f"{NAME}-wal"


def test_nothing_waits_in_a_write_ahead_file_after_opening_closing_and_so_many_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = abruptly_ended(tmp_path / "place")
    assert (place / WAL).stat().st_size > 0
    log = open_at(place)
    assert (place / WAL).stat().st_size == 0
    monkeypatch.setattr(sqlite_storage, "CHECKPOINT_ENTRIES", 10)
    fill(log, ENTRIES[:9])
    assert (place / WAL).stat().st_size > 0
    fill(log, ENTRIES[9:12])
    assert (place / WAL).stat().st_size == 0
    fill(log, ENTRIES[12:15])
    assert (place / WAL).stat().st_size > 0, "and the count begins anew"
    log.close()
    assert not (place / WAL).exists()
    log.close()


def test_a_reader_does_not_keep_a_writer_from_appending_past_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_storage, "CHECKPOINT_ENTRIES", 3)
    log = open_at(tmp_path)
    fill(log, ENTRIES[:3])
    held = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    held.execute("BEGIN")
    assert held.execute("SELECT count(*) FROM entry").fetchone() == (3,)
    fill(log, ENTRIES[3:9])
    assert (tmp_path / WAL).stat().st_size > 0
    held.close()
    fill(log, ENTRIES[9:12])
    assert (tmp_path / WAL).stat().st_size == 0
    assert list(log.entries()) == ENTRIES[:12]
    log.close()


def test_commits_reach_the_platter_on_every_system(tmp_path: Path) -> None:
    log = open_at(tmp_path)
    settings = [
        log._storage._connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("synchronous", "fullfsync", "checkpoint_fullfsync", "journal_mode")
    ]
    assert settings == [2, 1, 1, "wal"]
    waits = log._storage._connection.execute("PRAGMA busy_timeout").fetchone()[0]
    assert waits == 1000 * sqlite_storage.BUSY_TIMEOUT_S, "a checkpoint alone waits for nobody"
    log.close()


READ = """
import sys
from archipel.identity import Identity
from archipel.ledger.location import read_log
from archipel.ledger.signed_note import NoteKey
lab = Identity.from_seed(bytes(31) + b"\\x01")
log = read_log(sys.argv[1], NoteKey("lab.example/archipel", lab.public_key))
print(log.size, log.verify(), len(list(log.entries())))
log.close()
"""


@pytest.mark.parametrize("files", ["one", "an empty write-ahead file", "a write-ahead file"])
def test_a_ledger_on_read_only_media_can_be_read_or_says_what_to_copy(
    tmp_path: Path, files: str
) -> None:
    place = tmp_path / "medium"
    (abruptly_ended if files == "a write-ahead file" else properly_ended)(place)
    if files == "an empty write-ahead file":
        (place / WAL).touch()
    mount = f"mount --bind -o ro {place} {place}"
    flags = ["-m"] if os.geteuid() == 0 else ["-r", "-m"]
    if subprocess.run(["unshare", *flags, "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this user may not mount anything")
    script = f'{mount} && exec "$0" -c "$1" {place}/{NAME}'
    done = subprocess.run(
        ["unshare", *flags, "sh", "-c", script, sys.executable, READ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if files == "a write-ahead file":
        assert "copy both to a folder where you may write" in done.stderr
    else:
        assert done.stdout == "60 21 60\n", done.stderr


def test_a_log_of_an_older_format_is_brought_up_by_its_writer_alone(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(location, ORIGIN, LAB)
    fill(log, ENTRIES[:6])
    head = log.head
    log.close()
    steps = {
        1: "CREATE TABLE added_by_two (x integer)",
        2: "INSERT INTO added_by_two VALUES (3)",
    }
    monkeypatch.setattr(formats, "FORMAT", 3)
    with pytest.raises(LedgerUnavailable, match="format 1; expected 3; use the matching release"):
        open_log(location, ORIGIN, LAB)
    monkeypatch.setattr(formats, "SQLITE_STEPS", steps)
    monkeypatch.setattr(formats, "POSTGRES_STEPS", steps)
    with pytest.raises(LedgerUnavailable, match="start once to bring it to 3"):
        read_log(location, KEY)
    for _ in range(2):
        log = open_log(location, ORIGIN, LAB)
        assert log.head == head
        assert list(log.entries()) == ENTRIES[:6]
        assert log._storage._rows("SELECT x FROM added_by_two") == [(3,)]
        log.close()
    log = read_log(location, KEY)
    assert log.verify() == 3
    log.close()
    monkeypatch.setattr(formats, "FORMAT", 1)
    with pytest.raises(LedgerUnavailable, match="format 3; expected 1"):
        open_log(location, ORIGIN, LAB)


def test_a_step_that_fails_leaves_the_older_format(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = open_log(location, ORIGIN, LAB)
    fill(log, ENTRIES[:6])
    log.close()
    steps = {1: "CREATE TABLE half (x integer); INSERT INTO nowhere VALUES (1)"}
    for name, value in [("FORMAT", 2), ("SQLITE_STEPS", steps), ("POSTGRES_STEPS", steps)]:
        monkeypatch.setattr(formats, name, value)
    with pytest.raises(LedgerUnavailable, match="nowhere"):
        open_log(location, ORIGIN, LAB)
    monkeypatch.undo()
    log = open_log(location, ORIGIN, LAB)
    assert list(log.entries()) == ENTRIES[:6]
    with pytest.raises(LedgerUnavailable, match="half"):
        log._storage._rows("SELECT x FROM half")
    log.close()


def test_a_schema_that_is_no_text_any_more_is_corrupt(tmp_path: Path) -> None:
    place = properly_ended(tmp_path / "place")
    data = bytearray((place / NAME).read_bytes())
    data[data.index(b"UPDATE") + 2] ^= 0x80
    (place / NAME).write_bytes(data)
    for open_one in (open_at, lambda at: read_log(at / NAME, KEY)):
        with pytest.raises(LedgerCorrupt, match="schema is damaged"):
            open_one(place)
    assert (place / NAME).read_bytes() == data
