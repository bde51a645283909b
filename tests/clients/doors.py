"""A door over the small model, as a process of its own."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clients.stand import MODEL

STARTS_WITHIN_S = 120.0


@dataclass(frozen=True)
class Door:
    """Where it is, and a key to it."""

    url: str
    key: str
    model: str
    folder: Path


def tail(path: Path) -> str:
    return path.read_text()[-4000:] if path.exists() else ""


@contextlib.contextmanager
def opened(stand: Path, folder: Path, *more: str) -> Iterator[Door]:
    """`archipel door start --local`, until the block ends."""
    log, source = folder / "log", str(Path(__file__).parents[2] / "src")
    with log.open("w") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "archipel.cli.archipel", "door", "start"),
                *("--local", str(stand / MODEL), "--name", MODEL),
                *("--listen", "127.0.0.1:0", "--folder", str(folder / "door"), *more),
            ],
            stdout=subprocess.PIPE,
            stderr=out,
            text=True,
            env=os.environ  # noqa: TID251  a program of its own
            | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
        )
        try:
            assert process.stdout is not None
            started = time.monotonic()
            said = process.stdout.readline() + process.stdout.readline()
            found = re.search(r"TINKER_BASE_URL=(\S+) TINKER_API_KEY=(\S+)", said)
            assert found, f"no door after {time.monotonic() - started:.0f} s: {said} {tail(log)}"
            yield Door(found[1], found[2], MODEL, folder / "door")
        finally:
            process.terminate()
            process.communicate(timeout=STARTS_WITHIN_S)
