"""`archipel dashboard`: pages of somebody's ledger, wherever it lies; a lab's own, beside its records."""

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipel.cli.doors import Mendable
from archipel.cli.replicas import replica_at
from archipel.lab.retelling import Retold
from archipel.ledger.location import read_log
from archipel.ledger.mirror import Mirror
from archipel.ledger.verification import lab_key
from people import identity
from small_ledger import LAB, grow

KEY = lab_key(LAB.did)


def mirrored(ledger: Path, folder: Path) -> Path:
    log, mirror = read_log(ledger, KEY), Mirror(folder, KEY)
    mirror.extend(log.read(mirror.size, 999), log.head)
    log.close()
    return folder


def test_a_replica_of_a_file_a_home_and_a_mirror_is_the_same(tmp_path: Path) -> None:
    ledger = grow(tmp_path / "lab", 0, 4)
    places = (str(ledger), str(tmp_path / "lab"), str(mirrored(ledger, tmp_path / "mirror")))
    seen = []
    for place in places:
        told: list[Retold] = []
        with replica_at(None, place, LAB.did, told.extend) as replica:
            replica.grow()
            seen.append((replica.lab, replica.head(), replica.look().nodes(0, 9), len(told)))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][3] == 5
    grow(tmp_path / "lab", 4, 1)
    with replica_at(None, places[2], None, lambda batch: None) as replica:
        replica.grow()
        mirrored(ledger, tmp_path / "mirror")
        assert replica.grow()
        assert replica.look().size == 6


def test_what_is_no_ledger_or_somebody_elses_is_one_sentence(tmp_path: Path) -> None:
    ledger = grow(tmp_path / "lab", 0, 1)
    for place, expect in ((str(ledger), identity("else").did), (str(tmp_path / "none"), None)):
        with (
            pytest.raises(Mendable) as refused,
            replica_at(None, place, expect, lambda batch: None),
        ):
            pass
        assert "\n" not in str(refused.value)


def asked(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@contextlib.contextmanager
def process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "archipel.cli.archipel", *arguments]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(20)
        finally:
            child.kill()
            if child.stderr is not None:
                child.stderr.close()


def url_in(child: subprocess.Popen[str]) -> str:
    assert child.stderr is not None
    for line in child.stderr:
        if " at http://" in line:
            return line.partition(" at ")[2].split(",")[0].split("/pages")[0].strip()
    raise AssertionError("it ended")


def series_size(url: str) -> int:
    status, body = asked(f"{url}/pages/index.json")
    assert status == 200
    return int(json.loads(body)["told_to"])


@pytest.mark.slow
def test_a_lab_shows_its_pages_and_whoever_has_its_ledger_the_same(tmp_path: Path) -> None:
    home = ["--home", str(tmp_path / "own"), "--port", "0", "--log-file", str(tmp_path / "log")]
    with process("lab", "start", *home) as lab:
        url = url_in(lab)
        until = time.monotonic() + 60
        while series_size(url) < 1:
            assert time.monotonic() < until
            time.sleep(0.1)
        own = json.loads(asked(f"{url}/pages/index.json")[1])
        for path in ("login", "login/challenge", "static/login.js", "static/app.js"):
            assert asked(f"{url}/pages/{path}")[0] == 200
        with process("dashboard", "--lab", url, "--port", "0") as pages:
            there = url_in(pages)
            other = json.loads(asked(f"{there}/pages/index.json")[1])
            assert (other["lab"], other["size"]) == (own["lab"], own["size"])
            assert asked(f"{there}/lab")[0] == 404
    assert lab.returncode == 0
    with process("lab", "start", *home, "--no-pages") as lab:
        assert asked(f"{url_in(lab)}/pages/")[0] == 404
