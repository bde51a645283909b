"""`archipel serve --detach`: the same command again in a session of its own, waited for until it answers."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel import source_environment
from archipel.cli.doors import Mendable, at_work, home_folder

if TYPE_CHECKING:
    from archipel.serve.running import Running

READY_S = 900.0
"""For reading a large model from a slow disk."""
LOOK_S = 0.05
END_S = 5.0
MAX_LOGS = 20
MAX_SAID_BYTES = 4096
"""Of a log's end, where it says why nothing came of it."""


def detached(words: Sequence[str]) -> "tuple[Running, Path]":
    """The server that these words of `archipel serve` start, and its log.

    Raises:
        Mendable: it ended before it answered, with what it said; or it was not ready in time.
    """
    log = _new_log()
    command = [sys.executable, "-m", "archipel.cli.archipel", "serve", *words, "--log", str(log)]
    with log.open("ab") as said:
        process = subprocess.Popen(  # noqa: S603  ourselves, no shell
            [each for each in command if each != "--detach"],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | source_environment(),
        )
    at_work(f"process {process.pid} is loading")
    try:
        return _ready(process, log), log
    except BaseException:
        _end(process)
        raise


def _ready(process: "subprocess.Popen[bytes]", log: Path) -> "Running":
    from archipel.serve.running import those_that_run

    folder = home_folder("serve", None) / "running"
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        for each in those_that_run(folder):
            if each.pid == process.pid:
                return each
        code = process.poll()
        if code is not None:
            raise Mendable(f"the server ended before it answered (code {code}): {_last_words(log)}")
        time.sleep(LOOK_S)
    raise Mendable(
        f"the server was not ready within {READY_S:.0f} s and was ended; its log is {log}"
    )


def _last_words(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(log.stat().st_size - MAX_SAID_BYTES, 0))
        lines = file.read(MAX_SAID_BYTES).decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("archipel: ") if lines else "it said nothing"


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _new_log() -> Path:
    """An empty one, mode 0600; the oldest of too many are removed."""
    folder = home_folder("serve", None) / "logs"
    folder.mkdir(mode=0o700, exist_ok=True)
    for old in sorted(folder.glob("*.log"), key=lambda each: each.stat().st_mtime)[: -MAX_LOGS + 1]:
        old.unlink(missing_ok=True)
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return path


def say_detached(words: Sequence[str]) -> None:
    """Start it, and say where it is and how to end it."""
    one, log = detached(words)
    click.echo(f"{one.name} at {one.address}, detached (process {one.pid}, log {log})")
    click.echo(f"  archipel serve stop {one.port}")
