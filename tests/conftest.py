"""How properties draw their examples, how test processes share work, where they write, and which signals children hear.

`make test` judges a change, so it must not fail of an example that nobody had drawn before, nor of a busy machine;
`make test PYTEST_OPTIONS=--hypothesis-profile=drawn` looks for new ones.
"""

import gc
import os
import re
import shutil
import signal
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest
from hypothesis import settings

from longest import order

settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.register_profile("drawn", derandomize=False, print_blob=True)
settings.load_profile("fixed")

MEMORY_DISK = Path("/dev/shm")
ROOM_BYTES = 4 * 2**30
"""What the quick tests of one run write is a fourth of it."""
ROOT = "PYTEST_DEBUG_TEMPROOT"
SLOW_ALONE = re.compile(r"^pytestmark = (\[\s*)?pytest\.mark\.slow\b", re.MULTILINE)


def pytest_configure(config: pytest.Config) -> None:
    _hear_signals()
    if _number(config) is None and _is_quick(config) and not config.option.basetemp:
        _write_to_memory()


def _hear_signals() -> None:
    """A signal that is ignored here stays so in every child; one that is heard and does nothing does not.

    Under `nohup` or in a shell's background some are ignored, and children whose end by such a
    signal is the property under test would never end.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def _is_quick(config: pytest.Config) -> bool:
    """Whether no slow test is asked for."""
    return str(config.option.markexpr).split(" and ")[0] == "not slow"


def _write_to_memory() -> None:
    """Ledgers wait for the disk at every entry, which is what some tests do most of their time: where there is room,
    all write to memory. Whoever said where to write is heard.
    """
    environment = os.environ  # noqa: TID251  of these tests alone
    if ROOT in environment or not MEMORY_DISK.is_dir():
        return
    room = os.statvfs(MEMORY_DISK)
    if room.f_bavail * room.f_frsize >= ROOM_BYTES:
        environment[ROOT] = str(MEMORY_DISK)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Memory is given back, unless a test failed, whose files somebody may look at until tests run again."""
    if _number(session.config) is not None or exitstatus == pytest.ExitCode.TESTS_FAILED:
        return
    base: Path | None = session.config._tmp_path_factory._basetemp  # type: ignore[attr-defined]
    if base is not None and base.is_relative_to(MEMORY_DISK):
        shutil.rmtree(base, ignore_errors=True)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file of nothing but slow tests, and what it imports, is loaded for slow tests alone."""
    if collection_path.suffix != ".py" or not _is_quick(config):
        return None
    return True if SLOW_ALONE.search(collection_path.read_text("utf-8")) else None


def _number(config: pytest.Config) -> int | None:
    """Which of several test processes this is, from 0; None where there is one."""
    told: dict[str, str] | None = getattr(config, "workerinput", None)
    return int(told["workerid"].removeprefix("gw")) if told else None


class Backwards(pytest.Dir):
    """A folder of tests whose last file comes first."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        return reversed(list(super().collect()))


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Test processes that begin at either end compile half of the files each, and load the rest compiled."""
    is_odd = (_number(parent.config) or 0) % 2 == 1
    return Backwards.from_parent(parent, path=path) if is_odd else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What collecting makes, modules and tests, stays to the end: nobody looks for garbage in it, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Back in one order, which all test processes must agree upon: long files first."""
    if _number(config) is not None:
        items.sort(key=lambda item: order(item.path))
