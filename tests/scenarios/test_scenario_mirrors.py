"""Three labs that mirror each other: one shows two histories, one goes back, one is killed; the others say so, and go on.

Real processes. The second history is forged with the forger's real key: a copy of its home goes on by itself.
"""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from archipel.ledger.evidence import FORK, ROLLBACK, read_evidence
from archipel.node.client import LabClient
from archipel.records.statements import NodeJoined
from burnt import burn
from people import identity
from specimens import CAPABILITIES
from terminal import environment

pytestmark = pytest.mark.slow
LIMIT_S = 120.0
QUICK = ("--no-pages", "--mirror-every", "0.5", "--mirror-patience", "3")


class Labs:
    """Processes by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[str, int] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        with socket.socket() as one, socket.socket() as two, socket.socket() as three, socket.socket() as four:  # fmt: skip
            for name, free in zip(("a", "b", "false-b", "c"), (one, two, three, four), strict=True):
                free.bind(("127.0.0.1", 0))
                self.ports[name] = free.getsockname()[1]

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def start(self, name: str, *options: str) -> None:
        words = ["lab", "start", "--home", str(self.folder / name), "--port", str(self.ports[name])]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "archipel.cli.archipel", *words, *QUICK, *options],
                stdout=log, stderr=log, env=environment(HOME=str(self.folder)),
            )  # fmt: skip
        until(lambda: self.get(name, "/healthz") is not None, f"lab {name} answers")

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        process = self._running.pop(name)
        process.send_signal(how)
        process.wait(30)

    def close(self) -> None:
        for name in list(self._running):
            self.end(name, signal.SIGKILL)

    def get(self, name: str, path: str) -> httpx.Response | None:
        try:
            answer = httpx.get(self.url(name) + path, timeout=10, trust_env=False)
        except httpx.HTTPError:
            return None
        return answer if answer.status_code == 200 else None

    def mirror(self, host: str, of: str) -> dict[str, Any]:
        answer = self.get(host, "/mirrors")
        assert answer is not None
        return next((each for each in answer.json() if each["name"] == of), {})

    def join(self, name: str, *people: str) -> None:
        async def each() -> None:
            for person in people:
                async with LabClient(self.url(name), identity(person)) as client:
                    await client.greet()
                    await client.submit(NodeJoined, capabilities=CAPABILITIES)

        asyncio.run(each())

    def size(self, name: str) -> int:
        answer = self.get(name, "/ledger/head")
        return 0 if answer is None else int(answer.text.split("\n")[1])

    def fault(self, host: str, of: str, kind: str) -> dict[str, Any]:
        return next((each for each in self.mirror(host, of)["faults"] if each["kind"] == kind), {})


def until(holds: Callable[[], Any], what: str) -> None:
    limit_s = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < limit_s, f"not in {LIMIT_S:.0f} s: {what}"
        time.sleep(0.2)


def archipel(*words: str, folder: Path) -> str:
    return subprocess.run(
        [sys.executable, "-m", "archipel.cli.archipel", *words],
        capture_output=True, check=True, text=True, timeout=120, env=environment(HOME=str(folder)),
    ).stdout  # fmt: skip


@pytest.fixture
def labs(tmp_path: Path) -> Iterator[Labs]:
    found = Labs(tmp_path)
    yield found
    found.close()


def test_two_faces_a_rollback_and_a_death_are_shown_by_the_others_who_go_on(
    labs: Labs, tmp_path: Path
) -> None:
    labs.start("b")
    labs.join("b", "one", "two")
    labs.end("b")
    shutil.copytree(tmp_path / "b", tmp_path / "false-b")
    labs.start("b", "--mirror", f"a={labs.url('a')}", "--mirror", f"c={labs.url('c')}")
    labs.start("false-b")
    labs.join("b", "three", "four", "five")
    labs.join("false-b", "six")
    labs.start("c", "--mirror", f"a={labs.url('a')}", "--mirror", f"b={labs.url('false-b')}")
    labs.join("c", "one", "two", "three")
    labs.end("c")
    older = shutil.copytree(tmp_path / "c", tmp_path / "older-c")
    labs.start("c", "--mirror", f"a={labs.url('a')}", "--mirror", f"b={labs.url('false-b')}")
    labs.join("c", "four", "five")
    labs.start("a", "--mirror", f"b={labs.url('b')}", "--mirror", f"c={labs.url('c')}")

    # Two faces, one to each: whoever compares finds them, and the file says it to anybody.
    for host in ("a", "c"):
        until(lambda host=host: labs.mirror(host, "b").get("standing") == "forked", f"{host} sees both faces")  # type: ignore[misc]  # fmt: skip
        name = labs.fault(host, "b", "fork")["evidence"]
        file = tmp_path / host / "mirrors" / "b" / "evidence" / name
        found = read_evidence(file.read_bytes())
        assert (found.evidence.kind, found.smaller.size, found.larger.size) == (FORK, 4, 6)
        assert "two histories" in archipel("ledger", "evidence", str(file), folder=tmp_path)
        served = labs.get(host, f"/mirrors/b/evidence/{name}")
        assert served is not None
        assert served.content == file.read_bytes()

    # Heads were signed by the others, and the lab shows who did.
    until(lambda: len(labs.get("c", "/ledger/witnesses").json()) == 2, "a and b signed")  # type: ignore[union-attr]
    until(lambda: labs.mirror("a", "c").get("folded") == 6, "a follows c")
    until(lambda: labs.mirror("b", "c").get("folded") == 6, "b follows c")

    # Restored from an older copy, under its real key.
    labs.end("c", signal.SIGKILL)
    burn(tmp_path / "c")
    older.rename(tmp_path / "c")
    labs.start("c", "--mirror", f"a={labs.url('a')}", "--mirror", f"b={labs.url('false-b')}")
    for host in ("a", "b"):
        until(
            lambda host=host: labs.mirror(host, "c").get("standing") == "gone-back",
            f"{host} sees it",
        )  # type: ignore[misc]
        name = labs.fault(host, "c", "rollback")["evidence"]
        found = read_evidence((tmp_path / host / "mirrors" / "c" / "evidence" / name).read_bytes())
        assert (found.evidence.kind, found.smaller.size, found.larger.size) == (ROLLBACK, 4, 6)
        assert labs.mirror(host, "c")["entries"] == 6

    # Killed for good: its mirrors say since when, and hold all of it.
    labs.join("a", "seven")
    until(lambda: labs.mirror("b", "a").get("folded") == 2, "b follows a")
    labs.end("a", signal.SIGKILL)
    burn(tmp_path / "a")
    for host in ("b", "c"):
        until(
            lambda host=host: labs.mirror(host, "a").get("standing") == "silent", f"{host} notices"
        )  # type: ignore[misc]
    place = f"{labs.url('b')}/mirrors/a"
    told = json.loads(archipel("ledger", "verify", place, "--json", folder=tmp_path))
    assert told["entries"] == 2
    assert "is silent" in archipel("lab", "status", "--home", str(tmp_path / "b"), folder=tmp_path)  # fmt: skip
    metrics = labs.get("b", "/metrics")
    assert metrics is not None
    assert 'archipel_mirror_fault{kind="rollback",mirror="c"} 1.0' in metrics.text

    # And those that are left work.
    for host in ("b", "c"):
        before = labs.size(host)
        labs.join(host, "eight")
        assert labs.size(host) == before + 1
