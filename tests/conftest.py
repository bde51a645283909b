"""How properties draw their examples, how test processes share what they compile, and which signals children hear.

`make test` judges a change, so it must not fail of an example that nobody had drawn before, nor of a busy machine;
`make test PYTEST_OPTIONS=--hypothesis-profile=drawn` looks for new ones.
"""

import gc
import signal
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
settings.register_profile("drawn", derandomize=False, print_blob=True)
settings.load_profile("fixed")


def pytest_configure() -> None:
    """A signal that is ignored here stays so in every child; one that is heard and does nothing does not.

    Under `nohup` or in a shell's background some are ignored, and children whose end by such a
    signal is the property under test would never end.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


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
    """Back in one order, which all test processes must agree upon."""
    if _number(config) is not None:
        items.sort(key=lambda item: item.path.parts)
