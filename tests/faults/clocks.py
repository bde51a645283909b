"""Kind `clocks`: every process has a wall clock of its own, hours off, stepped now and then, or at another rate.

Time between events comes from monotonic clocks, so the weights stay what they are.
"""

import random
from collections.abc import Mapping
from pathlib import Path

from faults.worlds import UPDATE, Bench, Told, World, moment, world

SHIM = Path(__file__).with_name("skewed")
"""Holds a `sitecustomize` that gives a process another wall clock."""
HOUR_S = 3600.0
RATES = (0.2, 0.9, 1.1, 5.0)


def run(seed: int, bench: Bench, folder: Path) -> Told:
    """A clock for each process; up to three steps while they work, and sometimes a lab that starts again."""
    rng = random.Random(f"clocks {seed}")
    folder.mkdir(parents=True)
    with world(bench, folder) as made:
        names = ["lab", UPDATE, *(f"node{number}" for number in range(2))]
        clocks = {name: Clock(folder / f"{name}.clock", rng) for name in names}
        _start(made, clocks)
        for _ in range(rng.randint(0, 3)):
            moment(rng, 0.1, 1.0)
            if made.is_over:
                break
            name = rng.choice(names)
            clocks[name].step(rng)
            made.note(f"{name} steps to {clocks[name].line()}")
        if rng.random() < 0.4 and not made.is_over:
            clocks["lab"].step(rng)
            made.kill("lab")
            with made.surroundings(clocks["lab"].surroundings(made)):
                made.start_again("lab")
            made.note("lab starts again")
        told = made.told()
        wrong = [*told.wrong, *_unaffected(made, clocks)]
        told_of = ", ".join(f"{name} {clock.first}" for name, clock in clocks.items())
        return Told(wrong, told.faults + len(names), f"{told_of}; {told.notes}")


class Clock:
    """What a process takes for the time: true time x rate + offset, as its file says at each look."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self._path = path
        self._rate = rng.choice(RATES) if rng.random() < 0.5 else 1.0
        self._offset_s = 0.0
        self.step(rng)
        self.first = self.line()

    def step(self, rng: random.Random) -> None:
        """Set it to some other time, from a second to half a day off."""
        self._offset_s = rng.choice((-1, 1)) * rng.choice((1.0, 90.0, HOUR_S, 12 * HOUR_S))
        partial = self._path.with_suffix(".partial")
        partial.write_text(f"{self._offset_s} {self._rate}")
        partial.replace(self._path)

    def line(self) -> str:
        return f"{self._offset_s:+.0f} s x {self._rate}"

    def surroundings(self, made: World) -> Mapping[str, str]:
        """Variables that give a process this clock."""
        return made.modules_from(SHIM) | {"FAULTS_CLOCK": str(self._path)}


def _start(made: World, clocks: Mapping[str, Clock]) -> None:
    with made.surroundings(clocks["lab"].surroundings(made)):
        made.open_lab()
    with made.surroundings(clocks[UPDATE].surroundings(made)):
        made.open_run()
    for name in clocks.keys() - {"lab", UPDATE}:
        with made.surroundings(clocks[name].surroundings(made)):
            made.start_nodes([name])


def _unaffected(made: World, clocks: Mapping[str, Clock]) -> list[str]:
    """A clock that nobody looked at shows nothing: the shim leaves a mark."""
    return [
        f"{name} never looked at its clock: the run shows nothing"
        for name in clocks
        if not (made.site.folder / f"{name}.clock.seen").exists()
    ]
