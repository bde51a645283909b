"""A member killed at any moment goes on as if it never was."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from archipel.training.checkpoint import read_file
from training.inner.killed_run import run

SCRIPT = Path(__file__).with_name("killed_run.py")
WORKS, KILLS = 60, 4
LIMIT_S = 200


def lines(folder: Path) -> list[str]:
    told = folder / "told"
    return told.read_text().splitlines() if told.exists() else []


def killed(folder: Path, after: int, wait_s: float) -> None:
    """Let it come to `after` works, and kill it a moment later."""
    deadline = time.monotonic() + LIMIT_S
    with subprocess.Popen([sys.executable, SCRIPT, str(folder), str(WORKS)]) as process:
        while len(lines(folder)) < after and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(wait_s)
        process.kill()
    assert process.returncode in (-signal.SIGKILL, 0)


@pytest.mark.slow
def test_sigkill_at_any_moment_leaves_the_old_state_or_the_new_and_the_same_bytes_follow(tmp_path):
    moments = random.Random(1)
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    for number in range(KILLS):
        killed(tmp_path / "one", WORKS * (number + 1) // (KILLS + 2), moments.random() / 20)
        for file in (tmp_path / "one" / "state").glob("[0-9]*"):
            read_file(file)
    run(tmp_path / "one", WORKS)
    run(tmp_path / "other", WORKS)
    assert lines(tmp_path / "one") == lines(tmp_path / "other")
    assert len(lines(tmp_path / "other")) == WORKS
