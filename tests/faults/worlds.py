"""A whole lab as real processes, disturbed: the stage of the scenarios, a watcher, and the evidence at the end.

Law: whatever happens in the block, every process is ended at its end; every wait has a deadline.
"""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from archipel import source_environment
from archipel.bench.site import SiteFailed
from archipel.lab.entry import read_entry
from archipel.records.statements import Recorded
from faults.evidence import Evidence, wrong_with
from faults.gathering import left_behind
from faults.stores import Store, Stores
from faults.watching import (
    SAYS_WHERE,
    Watcher,
    heir_of_orphans,
    made_to_end,
    orphans_but,
    said_last,
)
from stage import LIMIT_S, Stage
from tiny import NAME, SECRET

VERSIONS = 8
FAR = ("--latency", "0.2")
"""So far away that a run lasts some seconds, and faults find it at work."""
END_S = 25.0
"""An agent that was asked to end does so within this time."""
LAST_LOOK_S = 15.0
OPENING_S = 180.0
"""A lab listens for the first time within this, and an update role has made version 0: on a machine with forty processes at
work the one took more than one minute, the other more than two."""
UPDATE = "update"
POLL_S = 0.2
"""Between looks at the lab: each costs it and us some milliseconds of processor, and it is about its work."""


def role(name: str) -> str:
    """What a process is for: its name without a number."""
    return name.rstrip("0123456789")


@dataclass(frozen=True)
class Bench:
    """What all worlds of a campaign share."""

    folder: Path
    start: Path
    """The model directory that runs start from."""
    expected: Sequence[str]
    """Digests of the undisturbed run."""
    stores: Stores | None = None
    """Where labs may keep their things; None: in folders alone."""


@dataclass(frozen=True)
class Told:
    """What one seeded world came to."""

    wrong: Sequence[str]
    """Sentences; none if everything that must hold holds."""
    faults: int
    """How many took effect."""
    notes: str = ""
    """One line on what happened."""
    hits: Mapping[str, int] = field(default_factory=dict)
    """`fault: what it hit` -> how often."""


class World:
    """One disturbed run."""

    def __init__(self, bench: Bench, folder: Path, known: set[int], store: Store) -> None:
        self.bench = bench
        self.store = store
        self.leader = "lab"
        """The lab that leads, where there are two."""
        self.stage = Stage(folder, bench.start, len(bench.expected) - 1, staleness=0)
        self.site = self.stage.site
        self.notes: list[str] = []
        self.hits: Counter[str] = Counter()
        self._known = known
        self._options: dict[str, tuple[str, ...]] = {"lab": store.options}
        self.site._environment |= {**store.environment, **SAYS_WHERE}
        self._unwell: list[str] = []
        self._watcher: Watcher | None = None

    def open(self, options: Sequence[str] = ()) -> None:
        """Lab, update role and run. options: of the lab."""
        self.open_lab(options)
        self.open_run()

    def open_lab(self, options: Sequence[str] = ()) -> None:
        """The lab, and a stranger who watches it."""
        self._options["lab"] += tuple(options)
        self.site.start_lab(options=self._options["lab"], limit_s=OPENING_S)
        self._watcher = Watcher(self.site.url)
        self._watcher.start()

    @property
    def lab_options(self) -> tuple[str, ...]:
        """Of `lab start`."""
        return self._options["lab"]

    def led_by(self, name: str, url: str) -> None:
        """From now on this lab is asked, and watched."""
        self.leader, self.site.url = name, url
        if self._watcher is not None:
            self._watcher.url = url

    def start_update(self) -> None:
        """The trusted role, with its secret."""
        self.site.keep_secret(UPDATE, "secret-order", SECRET)
        self.site.start_update()

    def open_run(self) -> None:
        """The update role, and the run."""
        self.start_update()
        with self.reached_at(self.address):
            self.site.open_run(self.stage.recipe, self.bench.start, [UPDATE])

    @property
    def address(self) -> str:
        """The lab's own."""
        return (self.site.home("lab") / "url").read_text()

    @contextmanager
    def reached_at(self, url: str) -> Iterator[None]:
        """Agents started in this block ask the lab there."""
        before, self.site.url = self.site.url, url
        try:
            yield
        finally:
            self.site.url = before

    def start_nodes(self, names: Sequence[str], options: Sequence[str] = FAR) -> None:
        """Nodes that ask the lab at its present address."""
        for name in names:
            self._options[name] = tuple(options)
            self.site.start_node(name, options)

    @contextmanager
    def surroundings(self, more: Mapping[str, str]) -> Iterator[None]:
        """Processes started in this block have these variables too."""
        before = self.site._environment
        self.site._environment = {**before, **more}
        try:
            yield
        finally:
            self.site._environment = before

    def modules_from(self, folder: Path) -> dict[str, str]:
        """Variables with which a process finds modules there before all others."""
        source = source_environment().get("PYTHONPATH", "")
        return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), source]))}

    @property
    def version(self) -> int:
        return self.stage.version()

    def wait(self, condition: Callable[[], bool], what: str, limit_s: float = LIMIT_S) -> None:
        """Raises SiteFailed: it did not come true in time, or a process died meanwhile."""
        deadline = time.monotonic() + limit_s
        while not condition():
            self.site.check_alive()
            if time.monotonic() > deadline:
                raise SiteFailed(f"waited {limit_s:.0f} s for {what}")
            time.sleep(POLL_S)

    def wait_while_it_moves(self, what: str, still_s: float, version: int | None = None) -> None:
        """Wait for a version, the last if none is said. Raises SiteFailed: the ledger showed nothing new for so long."""
        wanted = len(self.bench.expected) - 1 if version is None else version
        while self.version < wanted:
            before = self.num_shown
            self.wait(
                lambda before=before: self.version >= wanted or self.num_shown > before,
                what,
                still_s,
            )

    @property
    def num_shown(self) -> int:
        """Entries that the watcher was shown so far."""
        return len(self._watcher.entries) if self._watcher is not None else 0

    def wait_for_version(self, version: int) -> None:
        """Raises SiteFailed: it does not come."""
        self.wait(lambda: self.version >= version, f"version {version}")

    @property
    def is_over(self) -> bool:
        return self.version >= len(self.bench.expected) - 1

    def note(self, what: str, hit: str = "") -> None:
        """A fault that took effect. hit: `fault: what it hit`, where that is not the same."""
        self.hits[hit or what] += 1
        self.notes.append(what)

    def wrong(self, sentence: str) -> None:
        """What must not be, whatever else is found at the end."""
        self._unwell.append(sentence)

    def start_again(self, name: str) -> None:
        """The same process, home and address."""
        if name == "lab":
            self.site.start_lab(int(self.site.url.rsplit(":", 1)[1]), self._options["lab"])
        elif name == UPDATE:
            self.site.start_update()
        else:
            self.site.start_node(name, self._options[name])

    def start_lab_again(self, name: str, port: int) -> None:
        """A lab at its address, without waiting until it answers."""
        words = ("--home", str(self.site.home(name)), "--port", str(port))
        self.site._start(name, ["lab", "start", *words, *self.lab_options])

    def kill(self, name: str) -> None:
        self.site.kill(name)

    def end(self, name: str, number: signal.Signals) -> None:
        """Ask a process to end; one that does not is wrong, and killed."""
        process = self.site._processes.pop(name)
        process.send_signal(number)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._unwell.append(f"{name} did not end within {END_S:.0f} s of {number.name}")
            made_to_end(process)

    def children(self, name: str) -> list[int]:
        """Processes below the process `name`, the nearest first."""
        found, todo = [], [self.site.pid(name)]
        while todo:
            pid = todo.pop(0)
            with suppress(OSError):
                below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                found += (pids := [int(each) for each in below])
                todo += pids
        return found

    def ended_early(self) -> dict[str, int]:
        """Processes that ended though nobody asked them to, with their exit codes; they are taken off."""
        gone = {
            name: code
            for name, process in self.site._processes.items()
            if (code := process.poll()) is not None
        }
        for name in gone:
            self.site._processes.pop(name)
        return gone

    def told(self) -> Told:
        """Wait for the run's end, end all processes, look at what they left."""
        try:
            self.wait(lambda: self.is_over, "the end of the run")
            live = self._last_look()
        except SiteFailed as error:
            return self._told([f"not over: {error}"])
        self.site.close()
        found = self._evidence()
        return self._told(wrong_with(replace(found, live=live)))

    def _told(self, wrong: Sequence[str]) -> Told:
        watcher = self._watcher
        changed = watcher.changed if watcher is not None else []
        wrong = list(dict.fromkeys([*self._unwell, *changed, *wrong]))
        return Told(wrong, self.hits.total(), ", ".join(self.notes), dict(self.hits))

    def _last_look(self):
        """What the lab says once nobody works any more, so that nothing changes after it."""
        for name in [name for name in self.site.pids() if name != self.leader]:
            self.end(name, signal.SIGTERM)
        deadline = time.monotonic() + LAST_LOOK_S
        with httpx.Client(timeout=5.0, trust_env=False) as http:
            while True:
                try:
                    return said_last(http, self.site.url, NAME)
                except (httpx.HTTPError, ValueError, KeyError) as error:
                    if time.monotonic() > deadline:
                        raise SiteFailed(f"the lab says nothing at the end: {error!r}") from None
                    time.sleep(0.1)

    def _evidence(self) -> Evidence:
        assert self._watcher is not None
        self._watcher.stop()
        found = left_behind(self.site, self.store, self.leader)
        return replace(
            found,
            expected=self.bench.expected,
            watched=dict(self._watcher.entries),
            orphans=orphans_but(self._known),
        )

    def shown(self) -> list[Recorded]:
        """What the ledger says so far, as the stranger was shown it."""
        assert self._watcher is not None
        return [read_entry(data).statement for data in list(self._watcher.entries.values())]

    def close(self) -> None:
        """End everything."""
        if self._watcher is not None:
            self._watcher.stop()
        for process in self.site._processes.values():
            with suppress(OSError):
                process.send_signal(signal.SIGCONT)
        self.site.close()


@contextmanager
def world(bench: Bench, folder: Path, store: Store | None = None) -> Iterator[World]:
    """A world that is cleared away whatever happens in it."""
    with heir_of_orphans() as known:
        made = World(bench, folder, known, store or Store())
        try:
            yield made
        finally:
            made.close()
            orphans_but(known)


def undisturbed(folder: Path, start: Path) -> list[str]:
    """The digests that every world must come to."""
    with Stage(folder, start, VERSIONS, staleness=0) as stage:
        stage.open()
        stage.site.start_node("only")
        return stage.finished().policies
