"""A fresh lab for every story."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from world import World

MEMORY_DISK = Path("/dev/shm")


@pytest.fixture
def world() -> Iterator[World]:
    """Ledger and blobs in memory."""
    made = World()
    yield made
    made.close()


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk that synchronises at once, where there is one."""
    if not MEMORY_DISK.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK, prefix="archipel-") as folder:
        yield Path(folder)
