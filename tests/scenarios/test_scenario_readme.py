"""README's "Use it", as a newcomer types it: from a clean home to a finished run and a replayed ledger."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from archipel import source_environment
from stage import EVERY_PROCESS
from tiny import tiny_recipe

README = Path(__file__).parents[2] / "README.md"
PORT = 8440
LIMIT_S = 240.0
ENDLESS = ("lab start", "update join", "node join", "run watch")
"""What a reader leaves running in a terminal of its own."""
NEEDS_THE_LAB_S = 60.0


def toml(values: dict[str, Any], prefix: str = "") -> str:
    """A recipe as people write it."""
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items() if value is not None]
    parts = [f"[{prefix}]\n" * bool(prefix) + "\n".join(lines)]
    for key, value in values.items():
        if isinstance(value, dict):
            parts.append(toml(value, f"{prefix}.{key}" if prefix else key))
    return "\n".join(parts)


class Newcomer:
    """A person with a clean home and some terminals."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        (folder / "bin").mkdir()
        program = folder / "bin" / "archipel"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m archipel.cli.archipel "$@"\n')
        program.chmod(0o755)
        path = f"{folder / 'bin'}:{os.defpath}"
        self._environment = source_environment() | EVERY_PROCESS | {"PATH": path}
        self._environment["HOME"] = str(folder / "home")

    def types(self, line: str, answers: str = "") -> str:
        """What stands on the screen; what does not end is left running."""
        words = shlex.split(line, comments=True)
        options: dict[str, Any] = {"cwd": self.folder, "env": self._environment}
        if line.split("archipel ", 1)[1].startswith(ENDLESS):
            output = (self.folder / "screens").open("ab")
            with output:
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
                )
            self._running.append(process)
            return ""
        done = subprocess.run(
            words,
            input=answers.encode(),
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
            **options,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        return done.stdout.decode()

    def presses_ctrl_c(self) -> None:
        """In every terminal, the last one first."""
        for process in reversed(self._running):
            process.send_signal(signal.SIGINT)
        for process in reversed(self._running):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    person = Newcomer(tmp_path)
    yield person
    person.presses_ctrl_c()


def until(condition: Any, limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)


def answers_there() -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", PORT)) == 0


def lines_of_use_it() -> list[str]:
    text = README.read_text("utf-8").partition("## Use it")[2]
    (block, *_) = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [line for line in block.splitlines() if line.startswith("archipel ")]


@pytest.mark.slow
def test_use_it_in_the_readme_works_from_a_clean_home_to_the_end(
    newcomer: Newcomer, tmp_path: Path
) -> None:
    if answers_there():
        pytest.skip(f"port {PORT}, which the page names, is taken on this machine")
    (tmp_path / "mine.toml").write_text(toml(tiny_recipe(2, 0).model_dump(mode="json")))
    newcomer.types("archipel sft mine.toml --out start")
    lines = lines_of_use_it()
    assert len(lines) >= 7
    for line in lines:
        meant = line.replace("RECIPE", "mine.toml").replace("DIR", "start")
        meant = meant.replace("runs/demo-SEED/trained", "start")
        meant = meant.replace("NAME", "tiny").replace("URL", f"http://127.0.0.1:{PORT}")
        if "lab gc" not in meant:
            newcomer.types(meant, answers="ab=\n" if " chat " in meant else "")
        if "lab start" in meant:
            until(answers_there, NEEDS_THE_LAB_S)
        if "run open" in meant:
            until(lambda: "complete" in newcomer.types("archipel run list"), LIMIT_S)
    assert "all hold" in newcomer.types("archipel ledger verify")
    newcomer.types("archipel run export tiny --out trained")
    newcomer.presses_ctrl_c()
    newcomer.types("archipel lab gc")
