"""Kind `processes`: everybody dies, sleeps or is sent home at moments that the seed draws."""

import os
import random
import signal
from contextlib import suppress
from pathlib import Path

from faults.moments import moment, stop_for
from faults.worlds import UPDATE, Bench, Told, World, role, world

FATES = ("kill", "stop", "term", "int", "child", "everything", "restart the lab")
WEIGHTS = (6, 4, 3, 3, 4, 1, 3)


def run(seed: int, bench: Bench, folder: Path) -> Told:
    """Three to six faults over lab, update role and nodes."""
    rng = random.Random(f"processes {seed}")
    with world(bench, folder) as made:
        made.open()
        names = [f"node{number}" for number in range(rng.choice((2, 3)))]
        made.start_nodes(names)
        if rng.random() < 0.6:  # else the first fault finds everybody starting
            made.wait_for_version(0)
        for _ in range(rng.randint(3, 6)):
            moment(rng, 0.05, 1.2)
            if made.is_over:
                break
            _fault(made, rng, ["lab", UPDATE, *names])
        return made.told()


def _fault(made: World, rng: random.Random, names: list[str]) -> None:
    (fate,), name = rng.choices(FATES, WEIGHTS), rng.choice(names)
    if fate == "stop":
        _sleep(made, rng, name)
    elif fate == "child":
        _child(made, rng, rng.choice(names[1:]))
    elif fate == "everything":
        made.note("everything killed", "kill: everything")
        for each in names:
            made.kill(each)
        moment(rng, 0.0, 0.5)
        for each in names:
            made.start_again(each)
    else:
        name = "lab" if fate == "restart the lab" else name
        told = fate if fate in ("kill", "term", "int") else "kill"
        made.note(f"{told} {name}", f"{told}: {role(name)}")
        if fate in ("term", "int"):
            made.end(name, signal.SIGTERM if fate == "term" else signal.SIGINT)
        else:
            made.kill(name)
        moment(rng, 0.0, 1.0)
        made.start_again(name)


def _sleep(made: World, rng: random.Random, name: str) -> None:
    """The agent, its children, or both; now and then for longer than its lease lasts."""
    own = [made.site.pid(name)]
    pids = rng.choice((own, made.children(name) or own, own + made.children(name)))
    seconds = 8.0 if rng.random() < 0.1 else rng.uniform(0.1, 2.0)
    made.note(f"stop {len(pids)} of {name} for {seconds:.1f} s", f"stall: {role(name)}")
    stop_for(pids, seconds)


def _child(made: World, rng: random.Random, name: str) -> None:
    children = made.children(name)
    if not children:
        return  # nobody there, as a real fault may find
    made.note(f"kill a child of {name}", f"kill: child of {role(name)}")
    with suppress(ProcessLookupError):
        os.kill(rng.choice(children), signal.SIGKILL)
