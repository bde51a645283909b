"""A person with a clean home and some terminals, who types what a page says."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from archipel import source_environment
from stage import EVERY_PROCESS

ENDLESS = (
    "lab start",
    "update join",
    "node join",
    "run watch",
    "serve demo",
    "door start",
    "dashboard",
)
"""What a reader leaves running in a terminal of its own, unless it writes to a file and ends by itself."""
LIMIT_S = 300.0


class Newcomer:
    """Types lines; those that do not end are left running."""

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
        """What stands on the screen, or in the file that the line names after `>`."""
        command, _, file = line.partition(" > ")
        words = shlex.split(command, comments=True)
        options: dict[str, Any] = {"cwd": self.folder, "env": self._environment}
        if not file and command.partition("archipel ")[2].startswith(ENDLESS):
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
        if file:
            (self.folder / file.strip()).write_bytes(done.stdout)
        return done.stdout.decode()

    def ended(self) -> list[str]:
        """What was left running and does so no more."""
        return [str(each.args) for each in self._running if each.poll() is not None]

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


def until(condition: Callable[[], bool], limit_s: float) -> None:
    """Wait for it, no longer."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)


def is_open(port: int) -> bool:
    """Whether somebody listens there."""
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
