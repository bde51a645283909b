"""Properties of a log, the same on SQLite and PostgreSQL."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from archipel.identity import Identity
from archipel.ledger.location import open_log, read_log
from archipel.ledger.log import MAX_BATCH_ENTRIES, MAX_ENTRY_BYTES, MAX_READ_ENTRIES, BadEntry, Log
from archipel.ledger.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    nodes_from_leaves,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from archipel.ledger.signed_note import NoteKey
from archipel.ledger.storage import (
    LedgerCorrupt,
    LedgerFull,
    LedgerInUse,
    LedgerUnavailable,
)
from archipel.ledger.tree_head import verify_tree_head

LAB = Identity.from_seed(bytes(31) + b"\x01")
ORIGIN = "lab.example/archipel"
KEY = NoteKey(ORIGIN, LAB.public_key)
ENTRIES = [b"entry %d" % index for index in range(50)]


def _open(location: str) -> Log:
    return open_log(location, ORIGIN, LAB)


def _execute(location: str, *statements: str) -> None:
    """Act on the rows behind the ledger's back, as someone with the database's password could."""
    if location.startswith("postgresql"):
        import psycopg

        with psycopg.connect(location, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)
        return
    connection = sqlite3.connect(location, isolation_level=None)
    for statement in statements:
        connection.execute(statement.replace("archipel_", ""))
    connection.close()


def _unprotect(location: str) -> None:
    if location.startswith("postgresql"):
        for table in ("archipel_entry", "archipel_tree_head"):
            _execute(location, f"DROP TRIGGER append_only ON {table}")
        return
    for table in ("entry", "tree_head"):
        for rule in ("changes", "goes"):
            _execute(location, f"DROP TRIGGER {table}_never_{rule}")


def test_a_new_log_is_an_empty_tree_with_a_signed_head(location: str) -> None:
    with_head = _open(location)
    assert (with_head.size, with_head.head.root) == (0, EMPTY_ROOT)
    assert verify_tree_head(with_head.head.note, KEY) == with_head.head
    assert with_head.read(0) == []
    assert with_head.verify() == 1
    with_head.close()


def test_batching_does_not_change_the_tree(location: str) -> None:
    log = _open(location)
    assert log.append(ENTRIES[:1]).size == 1
    assert log.append(ENTRIES[1:20]).size == 20
    head = log.append(ENTRIES[20:])
    assert head == log.head
    assert (head.size, head.root) == (50, root_of(ENTRIES))
    assert verify_tree_head(head.note, KEY) == head
    assert log.read(0) == ENTRIES == list(log.entries())
    assert log.read(3, 4) == ENTRIES[3:7]
    assert log.read(48, 10) == ENTRIES[48:]
    assert log.read(50) == log.read(10**6) == []
    assert [head.size for head in log.heads()] == [0, 1, 20, 50]
    assert [head.root for head in log.heads(above=1)] == [root_of(ENTRIES[:20]), head.root]
    assert log.verify() == 4
    log.close()


def test_a_reopened_log_goes_on_where_it_ended(location: str) -> None:
    log = _open(location)
    log.append(ENTRIES[:7])
    first = log.head
    log.close()
    again = _open(location)
    assert again.head == first
    again.append(ENTRIES[7:])
    assert list(again.entries(5)) == ENTRIES[5:]
    assert again.head.root == root_of(ENTRIES)
    again.close()


def test_leaf_hashes_prove_every_entry_and_every_growth(location: str) -> None:
    log = _open(location)
    old = log.append(ENTRIES[:13])
    new = log.append(ENTRIES[13:])
    node = nodes_from_leaves(log.leaf_hashes())
    verify_consistency(
        old.size, new.size, old.root, new.root, consistency_proof(old.size, new.size, node)
    )
    for index, entry in enumerate(log.entries()):
        proof = inclusion_proof(index, new.size, node)
        verify_inclusion(leaf_hash(entry), index, new.size, proof, new.root)
    log.close()


@pytest.mark.parametrize(
    "batch",
    [
        [],
        [b""],
        [b"good", b""],
        [b"good", bytes(MAX_ENTRY_BYTES + 1)],
        [b"x"] * (MAX_BATCH_ENTRIES + 1),
    ],
    ids=["none", "empty", "one empty", "too large", "too many"],
)
def test_a_batch_with_one_bad_entry_leaves_nothing(tmp_path: Path, batch: list[bytes]) -> None:
    log = _open(str(tmp_path / "log"))
    with pytest.raises(BadEntry):
        log.append(batch)
    assert (log.size, log.read(0)) == (0, [])
    log.append([bytes(MAX_ENTRY_BYTES)])
    log.close()


@pytest.mark.parametrize(("start", "limit"), [(-1, 1), (0, 0), (0, -1), (0, MAX_READ_ENTRIES + 1)])
def test_reading_is_bounded(tmp_path: Path, start: int, limit: int) -> None:
    log = _open(str(tmp_path / "log"))
    with pytest.raises(BadEntry):
        log.read(start, limit)
    log.close()


def test_a_log_has_one_writer_and_any_number_of_readers(location: str) -> None:
    writer = _open(location)
    writer.append(ENTRIES[:5])
    with pytest.raises(LedgerInUse, match="another process"):
        _open(location)
    reader = read_log(location, KEY)
    assert list(reader.entries()) == ENTRIES[:5]
    writer.append(ENTRIES[5:])
    assert list(reader.entries()) == ENTRIES[:5]
    with pytest.raises(LedgerUnavailable, match="reading only"):
        reader.append([b"mine"])
    assert reader.verify() == 3
    reader.close()
    writer.close()
    later = read_log(location, KEY)
    assert later.size == 50
    later.close()
    _open(location).close()


def test_a_reader_finds_no_log_where_none_was_started(location: str) -> None:
    with pytest.raises(LedgerUnavailable):
        read_log(location, KEY)
    _open(location).close()


def test_a_closed_log_says_so(location: str) -> None:
    log = _open(location)
    log.close()
    log.close()
    for call in (
        lambda: log.append([b"x"]),
        lambda: log.read(0),
        log.verify,
        log.leaf_hashes,
        log.heads,
    ):
        with pytest.raises(LedgerUnavailable, match="this log is closed"):
            call()


def test_another_key_or_another_name_cannot_take_over_a_log(location: str) -> None:
    _open(location).close()
    with pytest.raises(LedgerCorrupt, match="is not by"):
        open_log(location, ORIGIN, Identity.from_seed(bytes(32)))
    with pytest.raises(LedgerCorrupt, match="is not by"):
        open_log(location, "other.example", LAB)
    with pytest.raises(LedgerUnavailable, match="cannot be called"):
        open_log(location, "two words", LAB)


def test_threads_that_append_together_lose_nothing(location: str) -> None:
    log = _open(location)

    def work(name: int) -> None:
        for number in range(10):
            log.append([b"%d %d" % (name, number), b"%d %d again" % (name, number)])

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = list(log.entries())
    assert len(set(entries)) == len(entries) == log.size == 80
    assert log.verify() == 41
    log.close()


def test_the_database_itself_refuses_to_forget(location: str) -> None:
    log = _open(location)
    log.append(ENTRIES[:3])
    for statement in [
        "UPDATE archipel_entry SET data = leaf_hash",
        "DELETE FROM archipel_entry",
        "UPDATE archipel_tree_head SET size = 7",
        "DELETE FROM archipel_tree_head",
    ]:
        with pytest.raises(Exception, match="append-only"):
            _execute(location, statement)
    assert log.verify() == 2
    log.close()


@pytest.mark.parametrize(
    ("statement", "found_at_open"),
    [
        ("UPDATE archipel_entry SET data = leaf_hash WHERE position = 2", False),
        (
            "UPDATE archipel_entry SET leaf_hash = "
            "(SELECT leaf_hash FROM archipel_entry WHERE position = 0) WHERE position = 2",
            True,
        ),
        ("DELETE FROM archipel_entry WHERE position = 2", True),
        ("DELETE FROM archipel_entry WHERE position = 4", True),
        ("DELETE FROM archipel_tree_head WHERE size = 5", True),
        ("DELETE FROM archipel_tree_head", True),
        ("UPDATE archipel_tree_head SET size = 6 WHERE size = 5", True),
        ("UPDATE archipel_tree_head SET size = 4 WHERE size = 3", False),
        ("DELETE FROM archipel_tree_head WHERE size = 3", None),
    ],
)
def test_no_rewrite_behind_the_ledgers_back_goes_unnoticed(
    location: str, statement: str, found_at_open: bool | None
) -> None:
    log = _open(location)
    log.append(ENTRIES[:3])
    log.append(ENTRIES[3:5])
    log.close()
    _unprotect(location)
    _execute(location, statement)
    if found_at_open:
        with pytest.raises(LedgerCorrupt):
            _open(location)
        return
    log = _open(location)
    if found_at_open is None:  # nothing that was promised is gone
        assert log.verify() >= 2
    else:
        with pytest.raises(LedgerCorrupt):
            log.verify()
    log.close()


def test_a_readers_copy_with_entries_that_no_head_covers_is_refused_when_opened_and_when_verified(
    location: str,
) -> None:
    log = _open(location)
    log.append(ENTRIES[:5])
    reader = read_log(location, KEY)
    log.append(ENTRIES[5:8])
    assert reader.verify() == 3, "beside a writer that went on in the meantime"
    log.close()
    _unprotect(location)
    _execute(location, "DELETE FROM archipel_tree_head WHERE size = 8")
    for look in (reader.verify, lambda: read_log(location, KEY)):
        with pytest.raises(
            LedgerCorrupt, match="8 entries are stored, the last signed head covers 5"
        ):
            look()
    reader.close()


def test_swapped_entries_are_noticed(location: str) -> None:
    log = _open(location)
    log.append(ENTRIES[:5])
    log.close()
    _unprotect(location)
    _execute(
        location,
        "UPDATE archipel_entry SET position = 9 WHERE position = 1",
        "UPDATE archipel_entry SET position = 1 WHERE position = 2",
        "UPDATE archipel_entry SET position = 2 WHERE position = 9",
    )
    with pytest.raises(LedgerCorrupt, match="do not add up"):
        _open(location)


WRITER = """
import sys
from archipel.identity import Identity
from archipel.ledger.location import open_log
log = open_log(sys.argv[1], "lab.example/archipel", Identity.from_seed(bytes(31) + b"\\x01"))
while True:
    head = log.append([b"%d" % (log.size + offset) for offset in range(3)])
    print(head.size, flush=True)
"""


@pytest.mark.parametrize(
    "location", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)
def test_a_killed_writer_loses_nothing_it_acknowledged_and_nothing_half(location: str) -> None:
    acknowledged = 0
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, location], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(8):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        for line in writer.stdout:
            acknowledged = int(line)
        writer.wait()
        writer.stdout.close()
        log = _open_when_released(location)
        assert log.size >= acknowledged
        assert log.size % 3 == 0
        assert list(log.entries()) == [b"%d" % index for index in range(log.size)]
        assert log.verify() == log.size // 3 + 1
        log.close()


def _open_when_released(location: str) -> Log:
    for _ in range(500):  # a database server notices a dead client a moment later
        try:
            return _open(location)
        except LedgerInUse:
            threading.Event().wait(0.02)
    return _open(location)


def test_a_batch_that_fails_halfway_leaves_nothing_and_the_log_goes_on(location: str) -> None:
    log = _open(location)
    log.append(ENTRIES[:3])
    if location.startswith("postgresql"):
        _execute(
            location,
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'refused'; END $$",
            "CREATE TRIGGER refuse BEFORE INSERT ON archipel_tree_head "
            "FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
    else:
        _execute(
            location,
            "CREATE TRIGGER refuse BEFORE INSERT ON tree_head "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END",
        )
    before = log.head
    with pytest.raises(LedgerUnavailable, match="refused"):
        log.append(ENTRIES[3:])
    assert log.head == before
    assert log.leaf_hashes() == [leaf_hash(entry) for entry in ENTRIES[:3]]
    on_head = " ON archipel_tree_head" if location.startswith("postgresql") else ""
    _execute(location, f"DROP TRIGGER refuse{on_head}")
    log.append(ENTRIES[3:])
    assert list(log.entries()) == ENTRIES
    assert log.verify() == 3
    log.close()


def test_a_full_sqlite_disk_appends_nothing_and_later_goes_on(tmp_path: Path) -> None:
    log = _open(str(tmp_path / "log"))
    log.append(ENTRIES[:3])
    connection = log._storage._connection
    limit = connection.execute("PRAGMA page_count").fetchone()[0] + 2
    connection.execute(f"PRAGMA max_page_count = {limit}")
    before = log.head
    with pytest.raises(LedgerFull, match="make room"):
        log.append([bytes(60_000)] * 5)
    assert log.head == before
    assert list(log.entries()) == ENTRIES[:3]
    connection.execute("PRAGMA max_page_count = 100000")
    log.append(ENTRIES[3:])
    assert log.verify() == 3
    log.close()


FULL_DISK = """
import sys
from pathlib import Path
from archipel.identity import Identity
from archipel.ledger.location import open_log
from archipel.ledger.storage import LedgerFull
log = open_log(Path(sys.argv[1]) / "log", "lab.example/archipel", Identity.from_seed(bytes(32)))
log.append([b"kept"])
Path(sys.argv[1], "ballast").write_bytes(bytes(300_000))
appended = 1
try:
    while True:
        log.append([bytes(50_000)])
        appended += 1
except LedgerFull:
    pass
assert log.size == appended, (log.size, appended)
Path(sys.argv[1], "ballast").unlink()
log.append([b"after"])
assert log.verify() == appended + 2
log.close()
print("recovered")
"""


def test_a_really_full_file_system_is_reported_and_survived(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=1m tmpfs {tmp_path}"
    flags = ["-m"] if os.geteuid() == 0 else ["-r", "-m"]
    if subprocess.run(["unshare", *flags, "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system")
    script = f'{mount} && exec "$0" -c "$1" {tmp_path}'
    done = subprocess.run(
        ["unshare", *flags, "sh", "-c", script, sys.executable, FULL_DISK],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "recovered\n", done.stderr


def test_a_full_postgres_disk_appends_nothing_and_later_goes_on(postgres_location: str) -> None:
    log = _open(postgres_location)
    log.append(ENTRIES[:3])
    _execute(
        postgres_location,
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$",
        "CREATE TRIGGER full_disk BEFORE INSERT ON archipel_tree_head "
        "FOR EACH ROW EXECUTE FUNCTION full_disk()",
    )
    before = log.head
    with pytest.raises(LedgerFull, match="make room"):
        log.append(ENTRIES[3:])
    assert log.head == before
    assert list(log.entries()) == ENTRIES[:3]
    _execute(postgres_location, "DROP TRIGGER full_disk ON archipel_tree_head")
    log.append(ENTRIES[3:])
    assert log.verify() == 3
    log.close()


def test_a_lost_postgres_connection_stops_the_log_until_it_is_opened_again(
    postgres_location: str,
) -> None:
    log = _open(postgres_location)
    log.append(ENTRIES[:3])
    _execute(
        postgres_location,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
    )
    with pytest.raises(LedgerUnavailable, match="PostgreSQL"):
        log.append([b"x"])
    with pytest.raises(LedgerUnavailable, match="open the log again"):
        log.append([b"x"])
    log.close()
    again = _open_when_released(postgres_location)
    assert list(again.entries()) == ENTRIES[:3]
    again.close()


def test_a_password_never_shows_in_an_error() -> None:
    pytest.importorskip("psycopg")
    for url in [
        "postgresql://lab:hunter%2@127.0.0.1:1/db",
        "postgresql://lab:hunter2@127.0.0.1:1/db",
        "postgresql://lab:hunter2@127.0.0.1:1/db?nonsense=1",
    ]:
        with pytest.raises(LedgerUnavailable) as caught:
            open_log(url, ORIGIN, LAB)
        assert "hunter" not in str(caught.value)


@pytest.mark.parametrize("damage", ["header", "page", "nonsense", "cut"])
def test_a_damaged_sqlite_file_is_refused_and_not_changed(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "log"
    log = _open(str(path))
    log.append([bytes([index]) * 3000 for index in range(30)])
    log.close()
    data = bytearray(path.read_bytes())
    if damage == "header":
        data[:16] = bytes(16)
    elif damage == "page":
        for offset in range(4096, len(data), 4096):
            data[offset : offset + 16] = b"\xff" * 16
    elif damage == "nonsense":
        data = bytearray(b"not a database" * 1000)
    else:
        data = data[: len(data) // 2]
    path.write_bytes(data)
    with pytest.raises(LedgerCorrupt, match="log"):
        _open(str(path))
    assert path.read_bytes() == data


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    with pytest.raises(LedgerUnavailable, match="not a ledger"):
        _open(str(path))


def test_places_where_no_log_can_live_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for location in [
        "mysql://host/db",
        str(tmp_path / "file" / "below"),
        str(tmp_path),
    ]:
        with pytest.raises(LedgerUnavailable, match=r"ledger|cannot write"):
            _open(location)
