"""A lab with real blobs for the nodes to dial."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipel.node.decide import backoff_s
from stub_worker import StubWorker
from world import World

MEMORY_DISK = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk that synchronises at once, where there is one."""
    if not MEMORY_DISK.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK, prefix="archipel-") as made:
        yield Path(made)


@pytest.fixture
def world(folder: Path) -> Iterator[World]:
    made = World(folder, ledger_on_disk=False)
    yield made
    made.close()


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[StubWorker]]:
    """Agents get a child that is none, and waits are a twentieth as long."""
    StubWorker.reset()
    monkeypatch.setattr("archipel.node.agent.Worker", StubWorker)
    monkeypatch.setattr(
        "archipel.node.patience.backoff_s", lambda attempt, draw: backoff_s(attempt, draw) / 20
    )
    monkeypatch.setattr("archipel.lab.failures.FIRST_REST_MS", 10)
    yield StubWorker
    StubWorker.reset()
