"""The servers that are measured beside each other: ours, llama.cpp, transformers, vLLM; each a process of its own.

Parts: `Peers` (where the others are), `sides_of` (those that can be had, and why the rest cannot), `Server`. All answer
POST /v1/completions on loopback, so one client asks them all. Laws: every side has the same weights, threads and
room; no side knows an end token, so every answer has the length asked for.
"""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

NAME = "bench"
"""What questions call the model."""
START_S, END_S = 600.0, 10.0
LOG_PIECE, LOG_END = 65_536, 500
"""Bytes: of what a server says first, where its address stands, and of what it said last."""
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
OURS = {"float32": 32, "bfloat16": 16, "int8": 8, "int4": 4}
LLAMA = {"float16": 16, "q8_0": 8, "q4_0": 4}
LIBRARY = {"float32": 32, "bfloat16": 16}
NODE = "node-llama-cpp"
VLLM = "ARCHIPEL_VLLM_PYTHON"


class ServerFailed(RuntimeError):
    """A server did not start or did not answer; the message carries the end of what it said."""


@dataclass(frozen=True)
class Room:
    """What every side is given."""

    threads: int
    clients: int
    """At once, at most."""
    positions: int
    """Of one question and its answer, at most."""
    tokens: int
    """Of all that is under way, at most."""


@dataclass(frozen=True)
class Peers:
    """Where the others are."""

    llama: Path | None
    """A folder in which npm installed node-llama-cpp."""
    vllm: str | None
    """A Python that has vLLM."""


@dataclass(frozen=True)
class Side:
    """One way to serve the model."""

    name: str
    bits: int
    """Of a weight."""
    words: tuple[str, ...]
    """Its command."""
    port: int | None = None
    """Where it will be; None: it says so itself."""

    @property
    def is_ours(self) -> bool:
        """Whether it is this project's."""
        return self.name.startswith("archipel")


def sides_of(folder: Path, room: Room, peers: Peers) -> tuple[list[Side], dict[str, str]]:
    """Every side that can be had here, and of the others why not.

    folder: has `model` and `KIND.gguf`.
    """
    absent: dict[str, str] = {}
    sides = [_ours(folder / "model", weights, bits, room) for weights, bits in OURS.items()]
    node = shutil.which("node")
    if node is None:
        absent["llama.cpp"] = "node is not installed"
    elif peers.llama is None or not (peers.llama / "node_modules" / NODE).is_dir():
        absent["llama.cpp"] = (
            f"name a folder with --llama, made by: npm install --ignore-scripts --omit=optional --prefix FOLDER {NODE} "
            f"@{NODE}/linux-x64"
        )
    else:
        sides += [
            _llama(node, peers.llama, folder / f"{kind}.gguf", bits, room)
            for kind, bits in LLAMA.items()
        ]
    if find_spec("transformers") is None:
        absent["transformers"] = "not installed"
    else:
        sides += [_library(folder / "model", dtype, bits, room) for dtype, bits in LIBRARY.items()]
    if peers.vllm is None:
        absent["vllm"] = f"{VLLM} does not name a Python that has it"
    else:
        sides.append(_vllm(peers.vllm, folder / "model", room))
    return sides, absent


def _ours(model: Path, weights: str, bits: int, room: Room) -> Side:
    words = (
        sys.executable, "-m", "archipel.cli.archipel", "serve", str(model), "--name", NAME, "--port", "0",
        "--weights", weights, "--threads", str(room.threads), "--max-cache-gb", "2",
    )  # fmt: skip
    return Side(f"archipel {weights}", bits, words)


def _llama(node: str, folder: Path, file: Path, bits: int, room: Room) -> Side:
    script = Path(__file__).with_name("serve_llama.mjs")
    numbers = (room.threads, room.clients, -(-room.positions // 256) * 256)
    words = (node, str(script), str(folder.resolve()), str(file), *map(str, numbers))
    return Side(f"llama.cpp {file.stem}", bits, words)


def _library(model: Path, dtype: str, bits: int, room: Room) -> Side:
    numbers = map(str, (room.threads, room.tokens))
    words = (sys.executable, "-m", "archipel.bench.serve_transformers", str(model), dtype, *numbers)
    return Side(f"transformers {dtype}", bits, words)


def _vllm(python: str, model: Path, room: Room) -> Side:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    words = (
        python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--served-model-name", NAME,
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "bfloat16", "--enforce-eager",
        "--max-num-seqs", str(room.clients), "--max-model-len", str(room.positions),
    )  # fmt: skip
    return Side("vllm bfloat16", 16, words, port)


@dataclass
class Server:
    """One side, running."""

    side: Side
    log: Path
    environment: Mapping[str, str]
    threads: int
    address: str = ""
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """Begin to load."""
        threads = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        home = {"ARCHIPEL_HOME": str(self.log.with_suffix(".home")), "VLLM_CPU_KVCACHE_SPACE": "2"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603  commands made here, no shell
                self.side.words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**self.environment, **threads, **home},
            )

    def wait(self) -> None:
        """Until it answers.

        Raises:
            ServerFailed: it ended, or took ten minutes.
        """
        until = time.monotonic() + START_S
        while not self._has_started():
            if self.process is None or self.process.poll() is not None or time.monotonic() > until:
                raise ServerFailed(f"{self.side.name} did not start: {self.said()}")
            time.sleep(0.2)

    def _has_started(self) -> bool:
        if self.side.port is None:
            found = _ADDRESS.search(self._read(0))
            self.address = found[0] if found else ""
            return bool(self.address)
        self.address = f"http://127.0.0.1:{self.side.port}"
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=2.0):  # noqa: S310  our own
                return True
        except (OSError, urllib.error.URLError):
            return False

    def said(self) -> str:
        """The end of its output."""
        return self._read(max(0, self.log.stat().st_size - LOG_END)).strip()

    def _read(self, start: int) -> str:
        """Some of its output from there on."""
        with self.log.open("rb") as file:
            file.seek(start)
            return file.read(LOG_PIECE).decode(errors="replace")

    def stop(self) -> None:
        """End it, by force if it will not."""
        if self.process is None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(END_S)
        self.process.kill()
        self.process.wait(END_S)
