"""`archipel lab`: what it leaves in its home for others to read, and what it deletes there."""

import asyncio
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from archipel.blobs import BlobStore
from archipel.cli.archipel import run
from archipel.cli.lab import publish_url
from archipel.cli.lab_status import _asked
from archipel.cli.ledger_checked import HEAD_FILE
from archipel.identity import Identity
from archipel.lab.lab import Lab
from archipel.ledger.location import open_log
from archipel.ledger.verification import lab_key
from live import live
from terminal import Terminal
from world import START_MS, World


def test_the_url_is_replaced_whole_and_never_written_under_a_reader(tmp_path: Path) -> None:
    publish_url(tmp_path, "http://127.0.0.1:1")
    held = tmp_path / "held"
    held.hardlink_to(tmp_path / "url")
    publish_url(tmp_path, "http://127.0.0.1:22")
    assert (tmp_path / "url").read_text() == "http://127.0.0.1:22"
    assert held.read_text() == "http://127.0.0.1:1", "the file was written in place"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held", "url"]


@contextmanager
def running(home: Path) -> Iterator[BlobStore]:
    """A lab that holds its ledger."""
    own = Identity.load_or_create(home / "lab.key")
    log = open_log(home / "ledger.sqlite", lab_key(own.did).name, own, home / HEAD_FILE)
    blobs = BlobStore(home / "blobs")
    try:
        lab = Lab(own, log, blobs, clock_ms=lambda: time.time_ns() // 1_000_000, in_thread=False)
        asyncio.run(lab.found([own.did]))
        yield blobs
    finally:
        log.close()


def gc(home: Path, *more: str) -> tuple[int, str]:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), pytest.raises(SystemExit) as ended:
        run(["lab", "gc", "--home", str(home), *more])
    return int(ended.value.code or 0), out.getvalue()


def test_a_lab_s_blobs_are_not_swept_beside_it_and_a_dry_run_says_what_would_go(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as blobs:
        coming = blobs.put_bytes(b"an upload of a lease that is open")
        code, said = gc(tmp_path, "--grace", "0")
        assert code != 0
        assert "stop it first" in said
        assert blobs.exists(coming)
        code, said = gc(tmp_path, "--dry-run", "--json")
        assert (code, json.loads(said)["blobs"]) == (0, 0), "it is younger than the grace"
        half = blobs.writer("sha256:" + "0" * 64, 9)
        half.write(b"half")
        half.close()
        for path in (tmp_path / "blobs").rglob("*"):
            os.utime(path, (1.0, 1.0))
        code, said = gc(tmp_path, "--dry-run", "--json")
        found = json.loads(said)
        assert (found["blobs"], found["bytes"]) == (2, 33 + 4), "the half that came as well"
        assert blobs.exists(coming)
    code, said = gc(tmp_path, "--json")
    assert code == 0
    assert json.loads(said) == found
    assert not blobs.exists(coming)
    with running(tmp_path):
        pass


@pytest.mark.parametrize("is_dry", [False, True])
def test_a_home_without_a_ledger_is_left_as_it_is(tmp_path: Path, is_dry: bool) -> None:
    code, said = gc(tmp_path, *(["--dry-run"] if is_dry else []))
    assert code != 0
    assert "no ledger" in said
    assert list(tmp_path.iterdir()) == []


def started(home: Path, *more: str) -> str:
    """What a start that fails says."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out), pytest.raises(SystemExit) as ended:
        run(["lab", "start", "--home", str(home), "--port", "0", *more])
    assert ended.value.code == 1
    return " ".join(out.getvalue().split())


def test_a_second_lab_in_one_home_is_told_where_the_first_is(tmp_path: Path) -> None:
    with running(tmp_path):
        publish_url(tmp_path, "http://127.0.0.1:8440")
        said = started(tmp_path)
        code, swept = gc(tmp_path)
    assert "a lab runs with the ledger of" in said
    assert "already at http://127.0.0.1:8440; stop it first" in said
    assert "--home" in said
    assert code == 1
    assert "already at http://127.0.0.1:8440; it sweeps by itself" in " ".join(swept.split())
    for words in (said, swept):
        assert "one writer" not in words


def test_a_folder_is_no_ledger(tmp_path: Path) -> None:
    said = started(tmp_path / "home", "--ledger", str(tmp_path))
    assert f"{tmp_path} is a folder, and a ledger is a file" in said
    assert str(tmp_path / "ledger.sqlite") in said
    assert not (tmp_path / "ledger.sqlite").exists()
    assert "unable to open" not in said


def test_the_status_counts_who_is_here_and_who_is_gone(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.started()
    world.provider("left").leave()

    async def told() -> dict[str, Any]:
        skew_ms = START_MS - time.time_ns() // 1_000_000  # the lab's clock goes on where it stood
        async with live(world, skew_ms=skew_ms) as url:
            return await _asked(url, is_check=False)

    facts = world.await_(told())
    world.close()
    assert facts["phase"] == "running"
    assert facts["leader"] == {"leads": True, "term": None, "place": ""}
    assert facts["nodes"] == {"present": 1, "gone": 1, "expired_leases": 0}


def test_a_lab_at_a_terminal_says_what_comes_next_and_logs_to_a_file(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "archipel.cli.archipel", "lab", "start"]
    with Terminal([*words, "--home", str(tmp_path), "--port", "0"], HOME=str(tmp_path)) as screen:
        shown = screen.wait_for("archipel run watch --lab http://127.0.0.1:")
        assert "archipel node join http://127.0.0.1:" in shown
        assert '{"' not in shown, "a log over the terminal"
        assert (tmp_path / "log.jsonl").exists()
        screen.process.kill()
