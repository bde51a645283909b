"""The bench of servers asks everybody the same, times what the client sees, and says who is not there."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from archipel.bench import serve
from archipel.bench.serve import Case, Plan
from archipel.bench.serve_asking import NoAnswer, ask, crowd
from archipel.bench.serve_report import best_peer, draw, ratio, table
from archipel.bench.serve_sides import Peers, Room, Server, ServerFailed, Side, sides_of
from archipel.cli.bench_serve import command


@contextmanager
def answering(
    wait_s: float, short_by: int = 0, status: int = 200
) -> Iterator[tuple[str, list[Any]]]:
    """A server that says its first word after so long, and its last after as long again; what it was asked."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append(body)
            self.send_response(status)
            self.end_headers()
            self._say({"choices": [{"text": ""}]})
            time.sleep(wait_s)
            self._say({"choices": [{"text": "word"}]})
            time.sleep(wait_s)
            self._say(
                {"choices": [], "usage": {"completion_tokens": body["max_tokens"] - short_by}}
            )

        def _say(self, told: Any) -> None:
            self.wfile.write(f"data: {json.dumps(told)}\n\n".encode())
            self.wfile.flush()

        def log_message(self, *said: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def test_the_clock_runs_to_the_first_text_and_to_the_end() -> None:
    with answering(0.1) as (address, asked):
        timing = ask(address, [5, 6, 7], 9)
    assert 0.1 <= timing.first - timing.asked <= timing.ended - timing.asked - 0.09
    assert (timing.tokens, asked[0]["prompt"], asked[0]["temperature"]) == (9, [5, 6, 7], 0)


def test_clients_ask_at_once() -> None:
    with answering(0.1) as (address, asked):
        timings = crowd(address, [[1], [2], [3], [4]], 2)
    assert max(each.asked for each in timings) < min(each.first for each in timings)
    assert sorted(each["prompt"] for each in asked) == [[1], [2], [3], [4]]


@pytest.mark.parametrize(
    ("short_by", "status", "why"), [(1, 200, "said 4 tokens"), (0, 400, "400")]
)
def test_an_answer_that_is_not_as_asked_is_no_measurement(
    short_by: int, status: int, why: str
) -> None:
    with answering(0.0, short_by, status) as (address, _), pytest.raises(NoAnswer, match=why):
        ask(address, [1], 5)
    with pytest.raises(NoAnswer, match="broke off"):
        ask(address, [1], 5)


def test_every_round_asks_all_sides_the_same_and_something_new(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = Plan((Case("1 client", 1, 8, 2), Case("shared prefix", 2, 8, 2, 6)), rounds=2)
    with answering(0.0) as (one, first), answering(0.0) as (two, second):
        servers = [
            Server(Side(name, 16, ()), tmp_path / "log", {}, 1, address)
            for name, address in (("archipel bfloat16", one), ("llama.cpp float16", two))
        ]
        found: dict[str, Any] = {}
        serve._rounds(plan, servers, 1000, lambda text: None, found)
    prompts, others = ([tuple(each["prompt"]) for each in asked] for asked in (first, second))
    assert sorted(prompts) == sorted(others), "both sides are asked the same"
    assert len(set(prompts)) == len(prompts), "nobody answers from what it kept"
    *_, begun, left, right = prompts
    assert begun[:6] == left[:6] == right[:6]
    assert all(len(row["tokens_per_s"]) == 2 for row in found["rows"]), "the warming is not counted"


ROW: dict[str, Any] = {
    "case": "4 clients",
    "clients": 4,
    "prompt": 8,
    "new": 2,
    "shared": 0,
    "first_s": [0.1, 0.1],
}
FOUND: dict[str, Any] = {
    "model": "m", "weights": 1000, "threads": 1, "absent": {"vllm": "not there"},
    "rows": [
        ROW | {"side": "archipel bfloat16", "bits": 16, "ours": True, "tokens_per_s": [30.0, 60.0]},
        ROW | {"side": "llama.cpp float16", "bits": 16, "ours": False, "tokens_per_s": [10.0, 20.0]},
        ROW | {"side": "transformers bfloat16", "bits": 16, "ours": False, "tokens_per_s": [1.0, 2.0]},
        ROW | {"side": "llama.cpp q4_0", "bits": 4, "ours": False, "tokens_per_s": [90.0, 90.0]},
    ],
}  # fmt: skip


@pytest.mark.slow
def test_it_is_drawn(tmp_path: Path) -> None:
    draw(FOUND, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_ours_is_held_against_the_best_of_as_many_bits_within_a_round() -> None:
    rows = FOUND["rows"]
    peer = best_peer(rows[0], rows)
    assert peer is rows[1]
    assert ratio(rows[0], peer, "tokens_per_s").mean == pytest.approx(3.0)
    said = table(FOUND)
    assert "3.00 [3.00, 3.00] x tokens/s, 1.00 [1.00, 1.00] x the wait: llama.cpp float16" in said
    assert "without vllm: not there" in said
    assert "nothing was measured yet" in table(FOUND | {"rows": []})


def test_who_is_not_there_is_said(tmp_path: Path) -> None:
    sides, absent = sides_of(tmp_path, Room(1, 4, 64, 256), Peers(tmp_path, None))
    assert [each.bits for each in sides if each.is_ours] == [32, 16, 8, 4]
    assert {"llama.cpp", "vllm"} <= absent.keys()
    assert not any(each.name.startswith(("llama", "vllm")) for each in sides)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    side = Side("llama.cpp q8_0", 8, ("sh", "-c", "echo no such model; exit 1"))
    server = Server(side, tmp_path / "log", {"PATH": "/bin:/usr/bin"}, 1)
    server.start()
    with pytest.raises(ServerFailed, match="did not start: no such model"):
        server.wait()
    server.stop()


@pytest.mark.slow
def test_the_command_measures_a_model_made_on_the_spot() -> None:
    words = ["--quick", "--rounds", "1", "--side", "archipel float32", "--json"]
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert [row["case"] for row in rows] == [case.name for case in serve.QUICK_CASES]
    assert all(speed > 0 for row in rows for speed in row["tokens_per_s"])


def test_a_case_or_a_side_that_there_is_not_is_said_before_anything_starts() -> None:
    for words, why in ((["--case", "9 clients"], "no case"), (["--side", "ollama"], "no side")):
        done = CliRunner().invoke(command, ["--quick", *words])
        assert done.exit_code != 0
        assert why in str(done.exception or done.output)
