"""Kind `clocks`: every process has a wall clock of its own, hours off, stepped now and then, or at another rate.

Time between events comes from monotonic clocks, so the weights stay what they are. Where Debian's `faketime` is
installed, half of the processes have their clock from it (it reaches what is not Python, and file times as well),
the others from a shim. Its rate also stretches what the process waits for: x 0.2 is a sluggish machine too.
"""

import platform
import random
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from faults.moments import moment
from faults.worlds import UPDATE, Bench, Told, World, role, world

SHIM = Path(__file__).with_name("skewed")
"""Holds a `sitecustomize` that gives a process another wall clock."""
FAKETIME = Path("/usr/lib") / f"{platform.machine()}-linux-gnu" / "faketime/libfaketimeMT.so.1"
HOUR_S = 3600.0
RATES = (0.2, 0.9, 1.1, 5.0)


def run(seed: int, bench: Bench, folder: Path) -> Told:
    """A clock for each process; up to three steps while they work, and sometimes a lab that starts again."""
    rng = random.Random(f"clocks {seed}")
    folder.mkdir(parents=True)
    with world(bench, folder) as made:
        names = ["lab", UPDATE, *(f"node{number}" for number in range(2))]
        which = random.Random(f"clocks {seed}, whose")
        by_faketime = {name for name in names if FAKETIME.exists() and which.random() < 0.5}
        clocks = {
            name: Clock(folder / f"{name}.clock", rng, by_faketime=name in by_faketime)
            for name in names
        }
        _start(made, clocks)
        for _ in range(rng.randint(0, 3)):
            moment(rng, 0.1, 1.0)
            if made.is_over:
                break
            name = rng.choice(names)
            clocks[name].step(rng)
            made.note(f"{name} steps to {clocks[name].line()}", f"clock step: {role(name)}")
        if rng.random() < 0.4 and not made.is_over:
            clocks["lab"].step(rng)
            made.kill("lab")
            with made.surroundings(clocks["lab"].surroundings(made)):
                made.start_again("lab")
            made.note("lab starts again", "kill: lab")
        unaffected = _without_faketime(made, by_faketime)
        told = made.told()
        wrong = [*told.wrong, *unaffected, *_unlooked_at(made, clocks.keys() - by_faketime)]
        told_of = ", ".join(f"{name} {clock.first}" for name, clock in clocks.items())
        hits = Counter(told.hits) + Counter(f"clock off: {role(name)}" for name in names)
        return Told(wrong, hits.total(), f"{told_of}; {told.notes}", hits)


class Clock:
    """What a process takes for the time: true time x rate + offset, as its file says at each look."""

    def __init__(self, path: Path, rng: random.Random, *, by_faketime: bool = False) -> None:
        self._path = path
        self._by_faketime = by_faketime
        self._rate = rng.choice(RATES) if rng.random() < 0.5 else 1.0
        self._offset_s = 0.0
        self.step(rng)
        self.first = self.line()

    def step(self, rng: random.Random) -> None:
        """Set it to some other time, from a second to half a day off."""
        self._offset_s = rng.choice((-1, 1)) * rng.choice((1.0, 90.0, HOUR_S, 12 * HOUR_S))
        partial = self._path.with_suffix(".partial")
        rate = f"x{self._rate}" if self._by_faketime else str(self._rate)
        partial.write_text(f"{self._offset_s:+} {rate}")
        partial.replace(self._path)

    def line(self) -> str:
        by = " by faketime" if self._by_faketime else ""
        return f"{self._offset_s:+.0f} s x {self._rate}{by}"

    def surroundings(self, made: World) -> Mapping[str, str]:
        """Variables that give a process this clock."""
        if self._by_faketime:
            return self.surroundings_by_faketime()
        return made.modules_from(SHIM) | {"FAULTS_CLOCK": str(self._path)}

    def surroundings_by_faketime(self) -> Mapping[str, str]:
        """Monotonic clocks stay as they are."""
        return {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": "1",  # seconds; a step is seen within it
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


def _start(made: World, clocks: Mapping[str, Clock]) -> None:
    with made.surroundings(clocks["lab"].surroundings(made)):
        made.open_lab()
    with made.surroundings(clocks[UPDATE].surroundings(made)):
        made.open_run()
    for name in clocks.keys() - {"lab", UPDATE}:
        with made.surroundings(clocks[name].surroundings(made)):
            made.start_nodes([name])


def _without_faketime(made: World, names: set[str]) -> list[str]:
    """Running processes that should have their clock from faketime and have not: they show nothing."""
    pids = {name: pid for name, pid in made.site.pids().items() if name in names}
    return [
        f"{name} does not run under faketime: the run shows nothing"
        for name, pid in pids.items()
        if made.site.running(name) and FAKETIME.name not in Path(f"/proc/{pid}/maps").read_text()
    ]


def _unlooked_at(made: World, names: Collection[str]) -> list[str]:
    """A clock that nobody looked at shows nothing: the shim leaves a mark."""
    return [
        f"{name} never looked at its clock: the run shows nothing"
        for name in sorted(names)
        if not (made.site.folder / f"{name}.clock.seen").exists()
    ]
