"""`archipel ledger verify` and the end of `archipel lab start`, by real processes."""

import asyncio
import base64
import io
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

import archipel
from archipel.bench.site import Site
from archipel.cli import ledger_reader
from archipel.cli.archipel import run
from archipel.identity import Identity
from archipel.ledger.location import open_log, read_log
from archipel.ledger.tree_head import verify_tree_head
from archipel.ledger.verification import lab_key

ENVIRONMENT = {
    "PATH": os.defpath,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(archipel.__file__).parents[1]),
}
Answers = dict[str, bytes]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path / "site", ENVIRONMENT) as site:
        yield site


@dataclass(frozen=True)
class Done:
    code: int
    stdout: str
    stderr: str


def _replay(*arguments: str) -> Done:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run(["ledger", "verify", *arguments])
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def _refused(done: Done, *words: str) -> None:
    assert done.code == 1, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_lab_told_to_end_closes_its_ledger(site: Site, number: signal.Signals) -> None:
    site.start_lab()
    home = site.home("lab")
    assert (home / "ledger.sqlite-wal").exists()
    process = site._processes.pop("lab")
    process.send_signal(number)
    assert process.wait(30) == 0
    assert not (home / "ledger.sqlite-wal").exists()
    output = (site.folder / "lab.out").read_text()
    assert "Traceback" not in output, output
    key = Identity.load(home / "lab.key")
    log = open_log(home / "ledger.sqlite", lab_key(key.did).name, key, home / "ledger.head")
    assert log.size == 1
    log.close()
    site.start_lab()


@pytest.mark.slow
def test_a_lab_does_not_begin_a_second_history_elsewhere(site: Site, tmp_path: Path) -> None:
    site.start_lab()
    home = site.home("lab")
    site.interrupt("lab")
    place = str(tmp_path / "new.sqlite")
    command = ["lab", "start", "--home", str(home), "--port", "0", "--ledger", place]
    ended = subprocess.run(
        [sys.executable, "-m", "archipel.cli.archipel", *command],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    done = Done(ended.returncode, ended.stdout, ended.stderr)
    _refused(done, "ledger.head this lab has signed a head over 1 entries", "another one is meant")


def test_anybody_can_replay_a_lab_and_a_copy_and_gets_what_the_lab_gets(
    site: Site, tmp_path: Path
) -> None:
    url = site.start_lab()
    home = site.home("lab")
    did = Identity.load(home / "lab.key").did
    remote = _replay("--lab", url, "--expect", did, "--json")
    own = _replay("--home", str(home), "--json")
    copy = tmp_path / "copy"
    copy.mkdir()
    site.interrupt("lab")
    for name in ("ledger.sqlite", "ledger.head"):
        shutil.copy(home / name, copy / name)
    copied = _replay("--ledger", str(copy / "ledger.sqlite"), "--json")
    shown = [json.loads(done.stdout) for done in (remote, own, copied)]
    expected = {"lab": did, "entries": 1, "runs": {}, "balances_micro": {}, "sum_micro": 0}
    expected |= {"snapshots_compared": 0, "snapshots_of_other_formats": 0, "rounds_cleared": {}}
    for each in shown:
        heads = each.pop("tree_heads")
        note = each.pop("head")
        head = verify_tree_head(note.encode(), lab_key(did))
        assert (head.size, base64.b64encode(head.root).decode()) == (1, each.pop("root"))
        assert each == expected | {"compared_heads": []}
        assert heads in (1, 2)
    assert "all hold" in _replay("--ledger", str(copy / "ledger.sqlite")).stdout
    other = Identity.from_seed(bytes(32)).did
    for source in (["--ledger", str(copy / "ledger.sqlite")], ["--home", str(home)]):
        _refused(_replay(*source, "--expect", other), f"ledger of {did}; expected {other}")
    wrong = _replay("--lab", url, "--home", str(home))
    assert wrong.code == 2


def _copy_of_ledger(folder: Path, num_entries: int = 1) -> tuple[Identity, Path]:
    """A ledger in `folder` whose lab opened it and then wrote what is no record."""
    from archipel.blobs import BlobStore
    from archipel.lab.lab import Lab

    lab = Identity.from_seed(bytes(31) + b"\x07")
    folder.mkdir()
    log = open_log(folder / "ledger.sqlite", lab_key(lab.did).name, lab, folder / "ledger.head")
    store = BlobStore(folder / "blobs", quota_bytes=2**20)
    asyncio.run(Lab(lab, log, store, lambda: 1_700_000_000_000).found([lab.did]))
    for _ in range(num_entries - 1):
        log.append(log.read(0, 1))
    log.close()
    return lab, folder / "ledger.sqlite"


def test_a_copy_that_is_cut_off_altered_or_no_ledger_is_refused_in_one_sentence(
    tmp_path: Path,
) -> None:
    _, older = _copy_of_ledger(tmp_path / "older")
    _, newer = _copy_of_ledger(tmp_path / "newer", 3)
    _refused(_replay("--ledger", str(newer)), "do not follow from one another", "stands once")
    shutil.copy(newer.with_name("ledger.head"), older.with_name("ledger.head"))
    _refused(_replay("--ledger", str(older)), "cut off: it ends at entry 1", "over 3 entries")
    older.with_name("ledger.head").write_bytes(b"garbage")
    _refused(_replay("--ledger", str(older)), "move the file away")
    _refused(_replay("--ledger", str(tmp_path / "nothing")), "there is no ledger at")
    _refused(_replay("--ledger", str(tmp_path)), "there is no ledger at", "ledger.sqlite")
    _refused(_replay("--ledger", "mysql://x/y"), "no ledger can live at mysql://")
    (tmp_path / "text").write_text("no database\n" * 100)
    _refused(_replay("--ledger", str(tmp_path / "text")), "no SQLite database")


def test_a_copied_folder_is_read_as_the_ledger_in_it(tmp_path: Path) -> None:
    _, file = _copy_of_ledger(tmp_path / "copy")
    whole, alone = _replay(str(tmp_path / "copy")), _replay(str(file))
    assert whole == alone
    assert whole.code == 0, whole.stderr
    file.with_name("ledger.head").write_bytes(b"garbage")
    _refused(_replay(str(tmp_path / "copy")), "move the file away")


class _Door(BaseHTTPRequestHandler):
    """A lab that answers what the test says."""

    answers: Callable[[str, dict[str, list[str]]], bytes]

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        body = type(self).answers(parts.path, parse_qs(parts.query))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def lying_lab(tmp_path: Path) -> Iterator[Callable[[Answers], str]]:
    """Serve a true ledger over HTTP, but for the answers that the test puts in their place."""
    lab, path = _copy_of_ledger(tmp_path / "true")
    log = read_log(path, lab_key(lab.did), path.with_name("ledger.head"))
    key = lab_key(lab.did)
    truth = {
        "/lab": json.dumps({"lab": lab.did, "ledger_key": key.to_text()}).encode(),
        "/ledger/head": log.head.note,
        "/ledger/entries": json.dumps(
            [base64.b64encode(entry).decode() for entry in log.entries()]
        ).encode(),
    }
    log.close()
    servers = []

    def serve(lies: Answers) -> str:
        told = truth | lies
        door = type("Door", (_Door,), {"answers": staticmethod(lambda path, query: told[path])})
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), door)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


OTHER = Identity.from_seed(bytes(31) + b"\x08")


def _head_of(lab: Identity, size: int) -> bytes:
    from archipel.ledger.tree_head import sign_tree_head

    return sign_tree_head(lab, lab_key(lab.did).name, size, bytes(32)).note


@pytest.mark.parametrize(
    ("lies", "words"),
    [
        ({}, None),
        ({"/lab": b"[]"}, "names no lab"),
        ({"/lab": b'{"lab": "did:web:x"}'}, "no key"),
        ({"/lab": b"[" * 10**5}, "something else than JSON"),
        ({"/lab": b" " * 10**6}, "more than"),
        (
            {"/lab": json.dumps({"lab": OTHER.did, "ledger_key": "x"}).encode()},
            "heads are signed by 'x'",
        ),
        (
            {
                "/lab": json.dumps(
                    {"lab": OTHER.did, "ledger_key": lab_key(OTHER.did).to_text()}
                ).encode()
            },
            "newest head is not signed by",
        ),
        ({"/ledger/head": b"\xff"}, "newest head is not signed by"),
        ({"/ledger/head": b"x" * 10**6}, "more than"),
        ({"/ledger/entries": b"{}"}, "no page of 1 to 1 entries"),
        ({"/ledger/entries": b"[]"}, "no page of 1 to 1 entries"),
        ({"/ledger/entries": b'["YQ==", "YQ=="]'}, "no page of 1 to 1 entries"),
        ({"/ledger/entries": b"[17]"}, "something else than base64"),
        ({"/ledger/entries": b'["YQ=="]'}, "do not add up to the root"),
        (
            {
                "/lab": json.dumps(
                    {"lab": OTHER.did, "ledger_key": lab_key(OTHER.did).to_text()}
                ).encode(),
                "/ledger/head": _head_of(OTHER, 10**9),
            },
            "at most 100000000 are fetched",
        ),
        (
            {
                "/lab": json.dumps(
                    {"lab": OTHER.did, "ledger_key": lab_key(OTHER.did).to_text()}
                ).encode(),
                "/ledger/head": _head_of(OTHER, 0),
            },
            "",
        ),
    ],
)
def test_what_a_lab_says_over_http_is_bounded_and_has_to_match_its_head(
    lying_lab: Callable[[Answers], str], lies: Answers, words: str | None
) -> None:
    done = _replay("--lab", lying_lab(lies))
    if words is None:
        assert "1 entry under 1 signed tree head: all hold" in done.stdout, done.stderr
    else:
        _refused(done, words)


def test_an_answer_that_drips_is_cut(
    lying_lab: Callable[[Answers], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_reader.LedgerReader, "LIMIT_S", 0.0)
    _refused(_replay("--lab", lying_lab({})), "no whole answer in 0 s")


def test_a_long_replay_says_how_far_it_is_on_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, path = _copy_of_ledger(tmp_path / "copy")
    assert _replay("--ledger", str(path)).stderr == ""
    monkeypatch.setattr("archipel.cli.telling.SELDOM_S", -1.0)
    done = _replay("--ledger", str(path), "--json")
    assert done.stderr == "0 of 1 entries\n"
    assert json.loads(done.stdout)["entries"] == 1


def test_no_lab_at_all_is_said_in_one_sentence() -> None:
    _refused(_replay("--lab", "http://127.0.0.1:9"), "no answer from the lab")
    done = _replay("--lab", "not a url")
    assert (done.code, "is no address" in done.stderr) == (2, True)
