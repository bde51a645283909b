"""The child from outside: whatever it does, its answer never counts for another question."""

import asyncio
from pathlib import Path

import pytest

from agents import settings
from archipel.node.home import ready_home
from archipel.node.worker import Worker, WorkerLost

READY = (
    'import sys; sys.stdin.readline(); print(\'{"say": "ready", "protections": []}\', flush=True)'
)
SILENT = f"{READY}; sys.stdin.read()"
LATE = f"{READY}; sys.stdin.readline(); import time; time.sleep(60)"


async def started(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> Worker:
    monkeypatch.setattr("archipel.node.worker._program", lambda ranks: ["-c", program])
    return await Worker.start(ready_home(settings(folder, "http://lab"), ()), {}, folder / "log")


def test_a_question_that_was_dropped_ends_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        worker = await started(tmp_path, monkeypatch, LATE)
        asking = asyncio.create_task(worker.position("update", "run", "run-0"))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not worker.alive

    asyncio.run(story())


def test_a_question_whose_time_is_up_ends_the_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archipel.node.worker.POSITION_LIMIT_S", 0.05)

    async def story() -> None:
        worker = await started(tmp_path, monkeypatch, SILENT)
        with pytest.raises(WorkerLost, match="time is up"):
            await worker.position("update", "run", "run-0")
        assert not worker.alive

    asyncio.run(story())
