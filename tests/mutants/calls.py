"""pytest plugin of the mutant runs: which functions of the source tree a test file calls, and how long it took.

The process that tests a mutant loads it too, for its Hypothesis profile: the same examples every
time, and no shrinking, because nobody reads the example that killed a mutant.
"""

import json
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType

import pytest
from hypothesis import HealthCheck, Phase, settings


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--calls-of", help="Source folder whose functions are noted.")
    parser.addoption("--calls-to", help="File that the notes go to.")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before any conftest: what it imports runs module and class bodies, and every test depends on them."""
    options = early_config.known_args_namespace
    if options.calls_to:
        early_config.pluginmanager.register(Notes(options.calls_of, Path(options.calls_to)))


def pytest_configure(config: pytest.Config) -> None:
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        phases=phases,
        deadline=None,  # a busy machine is no fault of the mutant
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutants")


class Notes:
    """What one pytest process ran."""

    def __init__(self, source: str, file: Path) -> None:
        self._source = source.rstrip("/") + "/"
        self._file = file
        self._codes: set[CodeType] = set()
        self._slowest_s = 0.0
        self._began_s = time.monotonic()
        threading.settrace(self._note)
        sys.settrace(self._note)

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        """Called when a function starts; to return nothing leaves its lines untraced."""
        self._codes.add(frame.f_code)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._slowest_s = max(self._slowest_s, report.duration)

    def pytest_sessionfinish(self) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]  # None ends it; the stub forgets
        calls = {
            (code.co_filename.removeprefix(self._source), _scope(code))
            for code in self._codes
            if code.co_filename.startswith(self._source)
        }
        notes = {
            "calls": sorted(calls),
            "slowest_s": self._slowest_s,
            "all_s": time.monotonic() - self._began_s,
        }
        self._file.write_text(json.dumps(notes))


def _scope(code: CodeType) -> str:
    name = code.co_qualname
    return "-" if name == "<module>" else name.replace(".<locals>", "")
