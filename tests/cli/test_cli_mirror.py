"""Mirrors, witnesses and proofs from the command line: a lab that shows two histories is found out by real servers."""

import base64
import functools
import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from archipel.cli.archipel import run
from archipel.ledger.merkle import root_of
from archipel.ledger.tree_head import sign_tree_head
from archipel.ledger.verification import lab_key
from golden import story
from people import identity
from ports import free_port

LAB = identity("lab")
KEY = lab_key(LAB.did)


@pytest.fixture(scope="module")
def entries() -> list[bytes]:
    world = story()
    found = list(world.lab.log.entries())
    world.close()
    return found


def said(*arguments: str, code: int = 0) -> str:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run(["ledger", *arguments])
    assert int(ended.value.code or 0) == code, out.getvalue() + err.getvalue()
    if code:
        assert "Traceback" not in err.getvalue()
    return out.getvalue() + err.getvalue()


@contextmanager
def served(door: type[BaseHTTPRequestHandler] | functools.partial) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), door)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def lab(shown: list[bytes]) -> Iterator[str]:
    """A lab that shows these entries, of which there may be more with every look."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked, query = urlsplit(self.path), parse_qs(urlsplit(self.path).query)
            told = {
                "/lab": json.dumps({"lab": LAB.did, "ledger_key": KEY.to_text()}).encode(),
                "/ledger/head": sign_tree_head(LAB, KEY.name, len(shown), root_of(shown)).note,
            }
            if asked.path == "/ledger/entries":
                start, limit = (int(query[name][0]) for name in ("start", "limit"))
                page = [base64.b64encode(each).decode() for each in shown[start : start + limit]]
                told[asked.path] = json.dumps(page).encode()
            body = told.get(asked.path)
            self.send_response(404 if body is None else 200)
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    with served(Door) as url:
        yield url


@pytest.mark.slow
def test_a_mirror_shows_what_its_lab_shows_and_can_be_mirrored_itself(
    tmp_path: Path, entries: list[bytes]
) -> None:
    shown = entries[:5]
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    with lab(shown) as url:
        assert "5 entries, 5 new" in said("mirror", url, first)
        shown += entries[5:]
        assert f"{len(entries)} entries, {len(entries) - 5} new" in said("mirror", url, first)
        assert ", 0 new" in said("mirror", url, first, "--expect", LAB.did)
        told, _ = json.JSONDecoder().raw_decode(said("verify", url, "--json"))  # progress follows
    alone = json.loads(said("verify", first, "--json", "--head", f"{first}/checkpoint"))
    same = ("root", "balances_micro", "entries", "runs", "lab")
    assert [alone[name] for name in same] == [told[name] for name in same]
    with served(functools.partial(Silent, directory=first)) as url:
        said("mirror", url, second)
        assert json.loads(said("verify", url, "--json"))["root"] == told["root"]
    assert json.loads(said("verify", second, "--json"))["root"] == told["root"]
    bundle = next((tmp_path / "second" / "tile" / "entries").rglob("*.p/*"))
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    assert str(bundle) in said("verify", second, code=1)


def test_a_proof_needs_nothing_but_its_two_files(tmp_path: Path, entries: list[bytes]) -> None:
    folder, out = str(tmp_path / "m"), str(tmp_path / "p")
    with lab(entries) as url:
        said("mirror", url, folder)
    said("prove", folder, "3", "--out", out)
    assert "holds" in said(
        "check-proof", f"{out}/3.tlog-proof", f"{out}/3.entry", "--expect", LAB.did
    )
    (tmp_path / "p" / "3.entry").write_bytes(entries[4])
    assert "another root" in said("check-proof", f"{out}/3.tlog-proof", f"{out}/3.entry", code=1)
    assert "counted from 0" in said("prove", folder, "100000", "--out", out, code=1)
    assert "no mirror" in said("prove", str(tmp_path), "0", "--out", out, code=1)
    other = identity("other").did
    assert "expected" in said(
        "check-proof", f"{out}/3.tlog-proof", f"{out}/3.entry", "--expect", other, code=1
    )


def test_a_lab_that_shows_two_histories_is_found_out(tmp_path: Path, entries: list[bytes]) -> None:
    forked = [*entries[:6], *entries[7:]]
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    with lab(entries) as honest, lab(forked) as lying:
        said("mirror", honest, one)
        said("mirror", lying, other)
        assert "gone back" in said("mirror", lying, one, code=1)
        assert "two histories" in said("mirror", honest, other, code=1)
    assert "two histories" in said("verify", one, "--head", f"{other}/checkpoint", code=1)


@contextmanager
def witness(home: Path) -> Iterator[tuple[str, str]]:
    """(address, key line) of one that runs."""
    port = free_port()
    words = ["witness", LAB.did, "--name", "w.example", "--home", str(home), "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "archipel.cli.archipel", "ledger", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        key = process.stdout.readline().strip()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", key
    finally:
        process.kill()
        process.communicate(timeout=20)


@pytest.mark.slow
def test_a_witness_signs_one_history_and_remembers_it_when_killed(
    tmp_path: Path, entries: list[bytes]
) -> None:
    shown, forked = entries[:4], [*entries[:3], *entries[4:9]]
    one, other = str(tmp_path / "one"), str(tmp_path / "other")
    with lab(shown) as honest, lab(forked) as lying:
        for _ in range(2):
            with witness(tmp_path / "home") as (url, key):
                assert "w.example: signed" in said("mirror", honest, one, "--witness", url, key)
                refused = said("mirror", lying, other, "--witness", url, key)
                assert re.search(r"not signed, it answered (409|422)", refused)
                shown += entries[len(shown) : len(shown) + 3]
        assert "no answer" in said("mirror", honest, one, "--witness", url, key)
    assert (tmp_path / "one" / "witnesses" / "w.example.note").exists()
    assert not (tmp_path / "other" / "witnesses").exists()
    assert (tmp_path / "home" / "witness.key").stat().st_mode & 0o077 == 0
    assert "a log's key" in said("mirror", honest, one, "--witness", url, KEY.to_text(), code=2)
