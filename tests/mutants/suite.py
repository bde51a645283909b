"""The tests of a room, run against a copy of the source tree.

`ROOMS` says which tests have to notice what. `Suite.measure` runs each test file once on the source
as it is: it must pass, and what it calls and how long it takes decide which files a mutant meets, in
which order and for how long. Law: the checkout is only ever read; every process has a copy of its own.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mutants.mutation import Mutation, mutated

ROOMS = {
    "bench": ("bench",),
    "blobs": ("test_blobs.py",),
    "cli": ("cli",),
    "cli/exact_bisect": ("cli/test_cli_exact_bisect.py",),
    "cli/exact_replay": ("cli/test_cli_exact_replay.py",),
    "cli/exact_trace": ("cli/test_cli_exact_bisect.py",),
    "curves/exporters": ("curves/test_exporters.py",),
    "dashboard": ("dashboard",),
    "demo": ("demo",),
    "door/admitting": ("door/test_door_accounts.py", "door/test_door_attacked.py"),
    "door/futures": (
        "door/test_door_attacked.py",
        "door/test_door_parts.py",
        "door/test_door_service.py",
    ),
    "door/journal": ("door/test_door_parts.py",),
    "door/ordering": ("door/test_door_parts.py",),
    "door/sequences": ("door/test_door_attacked.py", "door/test_door_parts.py"),
    "engine": ("engine", "exact"),
    "engine/exact": ("exact", "work/test_exact_work.py", "cli/test_cli_exact_bisect.py"),
    "identity": ("test_identity.py",),
    "lab": ("lab", "market"),
    "lab/look": ("lab/test_lab_look.py",),
    "lab/replica": ("lab/test_lab_replica.py",),
    "ledger": ("ledger",),
    "market": ("market", "lab"),
    "market/ownership": ("market/test_ownership.py", "lab/test_lab_owners_attacked.py"),
    "market/voting": ("market/test_voting.py",),
    "model": ("model",),
    "node": ("node",),
    "observatory": ("observatory",),
    "planning": ("planning",),
    "records": ("records",),
    "release": ("release",),
    "release/layout": ("release/test_release_loading.py",),
    "release/oms": ("release/test_oms.py",),
    "release/verify": (
        "release/test_release_attacked.py",
        "release/test_release_loading.py",
        "release/test_release_refusals.py",
        "release/test_bundle.py",
    ),
    "release/weights": ("release/test_release_weights.py",),
    "serve/aside": ("serve/test_serve_aside.py",),
    "serve/calls": ("serve/test_serve_calls.py",),
    "serve/queues": ("serve/test_serve_desk.py",),
    "serve/running": ("serve/test_serve_running.py",),
    "serve/tally": ("serve/test_serve_tally.py",),
    "training": ("training",),
    "work": ("work",),
}
"""Folders and files under `tests` that answer for a room."""
TEST_LIMIT_S = 10.0
RUN_LIMIT_S = 60.0
PATIENCE = 4.0
"""A test, or a run, may take so many times its usual time, and at least the limit above."""
TAIL = 2000
NOTHING_COLLECTED = 5
TIMED_OUT = "Failed: Timeout"
"""What pytest-timeout says of a test that it ended."""


class SuiteFailed(RuntimeError):
    """The unchanged source does not pass, or the copy is not what is tested: no mutant means anything."""


@dataclass(frozen=True)
class TestFile:
    """One test file as measured on the unchanged source."""

    __test__ = False

    path: Path
    calls: frozenset[tuple[str, str]]
    """(file under the source folder, scope) of every function it calls in its own process."""
    slowest_s: float
    all_s: float


class Suite:
    """All tests of one room of the checkout at `root`; copies live under `workspace`."""

    def __init__(self, root: Path, room: str, workspace: Path) -> None:
        self._source = root / "src"
        self._root = root
        self._workspace = workspace
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self._files: list[TestFile] = []
        self.paths = sorted(
            file for name in ROOMS.get(room, (room,)) for file in _test_files(root / "tests" / name)
        )

    def measure(self, jobs: int) -> float:
        """Run every test file on its own; returns the seconds they take together.

        Raises:
            SuiteFailed: one fails on the unchanged source.
        """
        with ThreadPoolExecutor(jobs) as pool:
            measured = pool.map(self._measured, range(len(self.paths)), self.paths)
            try:
                self._files = sorted(filter(None, measured), key=lambda file: file.all_s)
            except KeyboardInterrupt:
                self.stop()
                raise
        return sum(file.all_s for file in self._files)

    def fate(self, number: int, file: str, mutation: Mutation) -> str:
        """What becomes of a mutant: `killed`, `hung` (killed by the clock) or `survived`."""
        chosen = self._chosen(file, mutation.scope)
        test_s = max(TEST_LIMIT_S, PATIENCE * max(each.slowest_s for each in chosen))
        run_s = max(RUN_LIMIT_S, PATIENCE * sum(each.all_s for each in chosen))
        with self._copy(f"mutant-{number}") as place:
            target = place / "src" / file
            target.write_text(mutated(target.read_text(), mutation))
            code, said = self._pytest(
                place, [each.path for each in chosen], run_s, f"--timeout={test_s}"
            )
        if code is None or (code and TIMED_OUT in said):
            return "hung"
        return "killed" if code else "survived"

    def stop(self) -> None:
        """End every process now; later ones do not start."""
        self._stopped = True
        for process in tuple(self._processes):
            _kill(process)

    def _chosen(self, file: str, scope: str) -> list[TestFile]:
        """Test files that call the function; else that import the module; else (a child's code) all."""
        for wanted in ((file, scope), (file, "-")):
            if chosen := [each for each in self._files if wanted in each.calls]:
                return chosen
        return self._files

    def _measured(self, number: int, path: Path) -> TestFile | None:
        with self._copy(f"measure-{number}") as place:
            notes = place / "notes.json"
            options = (f"--calls-of={place / 'src'}", f"--calls-to={notes}")
            code, said = self._pytest(place, [path], 600.0, *options)
            if code == NOTHING_COLLECTED:
                return None
            if code != 0:
                raise SuiteFailed(f"{path} does not pass on the unchanged source:\n{said}")
            found = json.loads(notes.read_text())
        calls = frozenset((file, scope) for file, scope in found["calls"])
        if not calls:
            raise SuiteFailed(f"{path} ran no code of the copy; is another one installed in front?")
        return TestFile(path, calls, found["slowest_s"], found["all_s"])

    @contextlib.contextmanager
    def _copy(self, name: str):  # type: ignore[no-untyped-def]  # an iterator of one Path
        place = self._workspace / name
        shutil.copytree(self._source, place / "src", ignore=shutil.ignore_patterns("*.egg-info"))
        # A mutant of the same size, made in the same second, would be taken for what was compiled.
        for stale in place.rglob("__pycache__"):
            shutil.rmtree(stale)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _pytest(
        self, place: Path, paths: Iterable[Path], limit_s: float, *options: str
    ) -> tuple[int | None, str]:
        """(exit code, end of the output); no code when the time was up."""
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow and not gpu"]
        command += [
            "-p",
            "no:cacheprovider",
            "-p",
            "mutants.calls",
            f"--basetemp={place / 'tmp'}",
            *options,
        ]
        with (place / "output").open("w+b") as output:
            process = subprocess.Popen(
                [*command, *map(str, paths)],
                cwd=self._root,
                env=_environment(place),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # killed whole, and deaf to our Ctrl-C
            )
            self._processes.add(process)
            try:
                code = None if self._stopped else process.wait(limit_s)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _kill(process)
                self._processes.discard(process)
            output.seek(0)
            return code, output.read()[-TAIL:].decode(errors="replace")


def _environment(place: Path) -> dict[str, str]:
    """The copy in front of whatever is installed, and nothing written into the checkout."""
    tool = Path(__file__).parents[1]
    return {
        **os.environ,  # noqa: TID251  a program of its own, run by make
        "PYTHONPATH": os.pathsep.join((str(place / "src"), str(tool))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(place.parent / "hypothesis"),  # tables, not examples
    }


def _test_files(place: Path) -> list[Path]:
    found = sorted(place.rglob("test_*.py")) if place.is_dir() else [place]
    if not found or not found[0].is_file():
        raise SuiteFailed(f"there are no tests in {place}; name the room's tests in ROOMS")
    return found


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
