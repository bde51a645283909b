"""A pool as people start it: processes, one-time codes, encrypted links, and kill -9 in the middle of a sentence."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from archipel import source_environment
from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import byte_tokenizer

LIMIT_S = 120
LAYERS, GIVES = 6, 4
CACHE_GB = 0.02


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, tokenizer = tmp_path_factory.mktemp("model") / "small", byte_tokenizer()
    config = DecoderConfig(
        "llama", tokenizer.vocab_size, 128, LAYERS, 2, 2, 64, 256, 1024, bos_token_id=tokenizer.bos_id,
        eos_token_ids=tokenizer.stop_ids, pad_token_id=tokenizer.pad_id,
    )  # fmt: skip
    write_model(path, random_weights(config, 1), config, tokenizer)
    return path


class Pool:
    """One gateway without layers, and its devices."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model = folder, model
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        layer = 4 * (4 * 128 * 128 + 3 * 128 * 256 + 2 * 128)
        self.gives = GIVES * (layer + CACHE_GB * 1e9 / LAYERS) / 1e9 * 1.02
        words = ["pool", str(model), "--port", "0", "--pool-port", "0", "--give-gb", "0"]
        self.start("gateway", *words, "--max-cache-gb", str(CACHE_GB))
        self.address = self.wait("gateway", r"at (http://\S+) ")
        self.at = self.wait("gateway", r"pool join (\S+) ")
        self.code = self.wait("gateway", r"pool join \S+ (\S+)")

    def start(self, name: str, *words: str) -> None:
        environment = {"PATH": os.defpath, "HOME": str(self.folder / name), **source_environment()}
        if name in self.processes:
            self.processes[name].wait(LIMIT_S)
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "archipel.cli.archipel", "serve", *words, "--threads", "1"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def wait(self, name: str, pattern: str) -> str:
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            found = re.search(pattern, self.said(name))
            if found is not None:
                return found[1] if found.groups() else found[0]
            time.sleep(0.05)
        raise AssertionError(f"{name} never said {pattern}: {self.said(name)}")

    def join(self, name: str, *more: str) -> None:
        words = ["--label", name, "--give-gb", f"{self.gives:.6f}"]
        self.start(name, "pool", "join", self.at, self.code, *words, *more)
        self.wait("gateway", f"{name} joined")
        codes = re.findall(r"next device: (\S+)", self.said("gateway"))
        self.code = codes[-1]

    def status(self) -> dict[str, Any]:
        path = self.folder / "gateway" / ".archipel" / "pool" / "status.json"
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def holders(self) -> list[str]:
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            found = [each["name"] for each in self.status()["devices"] if each["layers"]]
            if len(found) == 2:
                return found
            time.sleep(0.1)
        raise AssertionError("nobody holds the layers")

    def ask(self, tokens: int, kill: str | None = None) -> tuple[str, float]:
        """The text of a stream, and the longest wait between two of its pieces after a kill."""
        body = {
            "model": "small", "prompt": "It was", "max_tokens": tokens, "seed": 7, "stream": True,
            "temperature": 1, "logit_bias": {str(each): -100 for each in (256, 257, 258)},
        }  # fmt: skip
        text, longest, killed, last = "", 0.0, False, time.monotonic()
        with httpx.stream("POST", f"{self.address}/v1/completions", json=body, timeout=60) as told:
            for line in told.iter_lines():
                if not line.startswith("data: {"):
                    continue
                found = json.loads(line.removeprefix("data: "))
                assert "error" not in found, found
                longest = max(longest, time.monotonic() - last) if killed else 0.0
                last = time.monotonic()
                text += "".join(each["text"] for each in found["choices"])
                if kill is not None and not killed and len(text) > 10:
                    self.processes[kill].send_signal(signal.SIGKILL)
                    killed = True
        return text, longest


@contextmanager
def running(folder: Path, model: Path) -> Iterator[Pool]:
    pool = Pool(folder, model)
    try:
        yield pool
    finally:
        for process in pool.processes.values():
            process.send_signal(signal.SIGINT)
        for process in pool.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(30)


@pytest.mark.slow
def test_a_stream_goes_on_with_the_same_text_when_its_devices_are_killed(tmp_path, model):
    with running(tmp_path, model) as pool:
        pool.join("one", "--model", str(model))
        pool.join("two")  # fetches its layers over the link
        undisturbed, _ = pool.ask(300)
        for name in ("three", "four"):
            pool.join(name)
            pool.ask(5)  # by now the line is what it will be, whoever turned out quicker
            time.sleep(3)  # and is written down
            lost = pool.holders()[0]
            text, seconds = pool.ask(300, lost)
            assert text == undisturbed
            print(f"{lost} killed: {seconds:.2f} s until the stream went on")
            assert seconds < 30  # of a machine that others use too
        until = time.monotonic() + LIMIT_S
        while len(pool.status()["mended"]) < 2:  # it is written once a second
            assert time.monotonic() < until
            time.sleep(0.1)
    status = tmp_path / "gateway" / ".archipel" / "pool" / "status.json"
    assert not status.exists()


@pytest.mark.slow
def test_who_has_no_code_gets_nowhere_and_who_lost_its_link_comes_back(tmp_path, model):
    with running(tmp_path, model) as pool:
        pool.join("one")
        pool.start("stranger", "pool", "join", pool.at, "--label", "stranger")
        pool.wait("stranger", "paired with no gateway")
        pool.start("guest", "pool", "join", pool.at, pool.code[:-9] + "AAAA-AAAA")
        pool.wait("guest", "refuses: another pairing code")
        pool.processes["one"].send_signal(signal.SIGKILL)
        pool.wait("gateway", "one is gone")
        pool.start("one", "pool", "join", pool.at, "--label", "one")  # no code any more
        pool.wait("one", "joined; Ctrl-C leaves")
        line = subprocess.run(
            [sys.executable, "-m", "archipel.cli.archipel", "serve", "pool", "code"],
            env={"PATH": os.defpath, "HOME": str(tmp_path / "gateway"), **source_environment()},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=True,
        ).stdout.split()
        assert line[:4] == ["archipel", "serve", "pool", "join"]
        assert line[4] == pool.at
        pool.code = line[5]
        pool.join("two")
        kept = tmp_path / "one" / ".archipel" / "pool"
        assert {each.stat().st_mode & 0o777 for each in kept.glob("device.*")} == {0o600}
