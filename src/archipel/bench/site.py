"""A whole lab on this machine: lab, update process and nodes as real processes on 127.0.0.1.

The demo, the parity benchmark and the fault tests act on a `Site` as an operator would: start, kill,
interrupt, ask over HTTP. Law: leaving the block ends every process, also after an error; every
process runs the source tree that this module lies in.
"""

import asyncio
import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from archipel import source_environment
from archipel.bench.endings import InOrder
from archipel.blobs import BlobStore
from archipel.identity import Identity
from archipel.lab.entry import read_entry
from archipel.node.approvals import approve
from archipel.node.opening import Brought
from archipel.node.operator import fetch_version, open_run
from archipel.records.documents import LeaseView, NodeView, RunView
from archipel.records.recipe_form import RecipeForm
from archipel.records.statements import Recorded
from archipel.work.export import write_version

START_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0
POLL_S = 0.05
PAGE = 1000
PROGRAM = ("-m", "archipel.cli.archipel")
"""What a process of this site runs, in words for Python."""


class SiteFailed(RuntimeError):
    """A process died or a condition was not met in time; the message names the log."""


class Site(InOrder):
    """Processes by name; each has a home folder and an output file under `folder`."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.url = ""
        self._environment = dict(environment)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._http = httpx.Client(timeout=10.0, trust_env=False)
        folder.mkdir(parents=True, exist_ok=True)

    def home(self, name: str) -> Path:
        """Home folder of the process `name`."""
        return self.folder / name

    def start_lab(
        self, port: int = 0, options: Sequence[str] = (), limit_s: float = START_LIMIT_S
    ) -> str:
        """Start (or start again) the lab and wait until it answers; returns its URL.

        limit_s: seconds that it may take to listen, and to answer then.
        """
        home = self.home("lab")
        (home / "url").unlink(missing_ok=True)
        self._start("lab", ["lab", "start", "--home", str(home), "--port", str(port), *options])
        self.wait_until(lambda: (home / "url").is_file(), "the lab to listen", limit_s)
        self.url = (home / "url").read_text()
        self.wait_until(lambda: self.get("/healthz") is not None, "the lab to answer", limit_s)
        return self.url

    def start_follower(self, name: str, port: int = 0, options: Sequence[str] = ()) -> str:
        """Start a lab that shares another's ledger, key and blobs, and wait until it listens; returns its URL."""
        home = self.home(name)
        (home / "url").unlink(missing_ok=True)
        self._start(name, ["lab", "start", "--home", str(home), "--port", str(port), *options])
        self.wait_until((home / "url").is_file, f"{name} to listen", START_LIMIT_S)
        return (home / "url").read_text()

    def start_update(self, name: str = "update", options: Sequence[str] = ()) -> str:
        """Start the trusted role; returns its did."""
        home = str(self.home(name))
        self._start(name, ["update", "join", self.url, "--home", home, "--quiet", *options])
        return self.did(name)

    def start_node(
        self, name: str, options: Sequence[str] = (), program: Sequence[str] = PROGRAM
    ) -> str:
        """Start a node; returns its did. program: what to run in place of the package's own command."""
        home = str(self.home(name))
        words = ["node", "join", self.url, "--home", home, "--quiet", *options]
        self._start(name, words, program)
        return self.did(name)

    def did(self, name: str) -> str:
        """The key of a node or update process, made now if it has none yet."""
        return Identity.load_or_create(self.home(name) / "node.key").did

    def operator(self) -> Identity:
        """The lab's operator."""
        return Identity.load(self.home("lab") / "operator.key")

    def keep_secret(self, holder: str, name: str, value: bytes) -> None:
        """Give a trusted role a secret, readable by its owner alone."""
        folder = self.home(holder) / "secrets"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(value)

    def approve(self, holder: str, recipe: RecipeForm) -> None:
        """Let a trusted role do runs of this recipe."""
        approve(self.home(holder), recipe.digest)

    def open_run(
        self,
        recipe: RecipeForm,
        weights: Path,
        trusted: Sequence[str],
        brought: Brought | None = None,
    ) -> None:
        """Open a run that starts from the model directory `weights`, as the lab's operator would.

        trusted: names of the processes that hold its trusted role. brought: what is sent, where that is more than the
        directory.

        Raises:
            LabUnreachable, LabRefused: from the lab.
            InvalidModel, OSError: the model directory cannot be used.
        """
        for name in trusted:
            self.approve(name, recipe)
        dids = [self.did(name) for name in trusted]
        asyncio.run(open_run(self.url, self.operator(), recipe, weights, dids, brought))

    def fetch_weights(
        self, run: str, version: int | None, out: Path, *, merge: bool = False
    ) -> str:
        """Write a version (None: the newest) to the model directory `out`; returns its state digest.

        merge: of an adapter's run, the whole model.

        Raises:
            LabUnreachable, LabRefused: from the lab.
            ExportFailed: what it gave does not verify.
        """
        support, store = self.folder / "export" / run, BlobStore(self.folder / "export" / "blobs")
        links = asyncio.run(fetch_version(self.url, store, run, version, support, weights=merge))
        return write_version(links, support, out, merge=merge)

    def kill(self, name: str) -> None:
        """SIGKILL, as a power cut would: the process and its work process get no last word."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def hold(self, name: str) -> None:
        """Let the process say nothing more until `release`, or until it is killed."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def release(self, name: str) -> None:
        """It goes on."""
        self._processes[name].send_signal(signal.SIGCONT)

    def interrupt(self, name: str) -> int:
        """Ctrl-C, and wait for the clean end; returns the exit code."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGINT)
        try:
            return process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise SiteFailed(f"{name} did not end within {STOP_LIMIT_S:.0f} s of Ctrl-C") from None

    def pid(self, name: str) -> int:
        """Process id of a running process."""
        return self._processes[name].pid

    def running(self, name: str) -> bool:
        """Whether the process is still there."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def pids(self) -> dict[str, int]:
        """Process identifiers by name."""
        return {name: process.pid for name, process in self._processes.items()}

    def get(self, path: str) -> Any:
        """A JSON document (or text) from the lab; None while it does not answer."""
        try:
            answer = self._http.get(self.url + path)
        except httpx.HTTPError:
            return None
        if answer.status_code != httpx.codes.OK:
            return None
        is_json = answer.headers["content-type"].startswith("application/json")
        return answer.json() if is_json else answer.text

    def run(self, name: str) -> RunView | None:
        """Where a run stands; None while the lab does not answer, or knows no such run."""
        shown = self.get(f"/runs/{name}")
        return None if shown is None else RunView.model_validate(shown, strict=False)

    def nodes(self) -> dict[str, NodeView]:
        """What the lab says of each node, also of those that are gone, by key."""
        rows = self._all("/nodes", "all=1&")
        shown = [NodeView.model_validate(each, strict=False) for each in rows]
        return {view.node: view for view in shown}

    def leases(self) -> list[LeaseView]:
        """Every open lease."""
        return [LeaseView.model_validate(each, strict=False) for each in self._all("/leases")]

    def _all(self, path: str, query: str = "") -> list[Any]:
        """Every row, page by page."""
        rows: list[Any] = []
        while len(page := self.get(f"{path}?{query}start={len(rows)}&limit={PAGE}") or []) == PAGE:
            rows += page
        return rows + page

    def history(self) -> list[tuple[int, Recorded]]:
        """The whole ledger: (received at, Unix milliseconds; statement), each signature verified."""
        history: list[tuple[int, Recorded]] = []
        while page := self.get(f"/ledger/entries?start={len(history)}&limit={PAGE}"):
            entries = [read_entry(base64.b64decode(text)) for text in page]
            history += [(entry.at_ms, entry.statement) for entry in entries]
        return history

    def wait_until(self, condition: Callable[[], bool], what: str, limit_s: float) -> None:
        """Wait for a condition.

        Raises:
            SiteFailed: it did not hold in time, or a process died meanwhile.
        """
        deadline = time.monotonic() + limit_s
        while not condition():
            self.check_alive()
            if time.monotonic() > deadline:
                raise SiteFailed(f"waited {limit_s:.0f} s for {what}; logs are in {self.folder}")
            time.sleep(POLL_S)

    def check_alive(self) -> None:
        """Raises SiteFailed if a process that nobody killed has ended."""
        for name, process in self._processes.items():
            code = process.poll()
            if code is not None:
                tail = self._output(name).read_text(errors="replace")[-800:]
                raise SiteFailed(f"{name} ended with code {code}: {tail}")

    def close(self) -> None:
        """End everything: nodes first, so that they can still talk to the lab."""
        self._http.close()
        for process in reversed(self._processes.values()):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._processes.values()):
            try:
                process.wait(3.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _start(self, name: str, arguments: Sequence[str], program: Sequence[str] = PROGRAM) -> None:
        self.home(name).mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._output(name).open("ab") as output:
            self._processes[name] = subprocess.Popen(  # noqa: S603  our own program, no shell
                [sys.executable, *program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**source_environment(), **self._environment},
            )

    def _output(self, name: str) -> Path:
        return self.folder / f"{name}.out"
