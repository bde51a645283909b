"""Kind `disks`: the disk of the lab, the update role or a node is full for a while, then has room again.

A disk that nobody wrote to meanwhile shows nothing: it stays full, to the last byte in the end, until its owner
says that it met it, in its log, in its output or to the lab. The trusted role saves a checkpoint at each version.

As root the disk is a small tmpfs below the process's home; otherwise the process may write no file beyond a
size (RLIMIT_FSIZE, lifted later), which is all that an ordinary user can do to it.
"""

import os
import random
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from archipel.bench.site import SiteFailed
from archipel.records.recipe import Recipe
from archipel.records.statements import LeaseReturned
from faults.moments import moment
from faults.worlds import POLL_S, UPDATE, Bench, Told, World, role, world

DISK_BYTES = 24 * 2**20
BALLAST = "ballast"
FULL_FOR_S = (1.0, 5.0)
FREE_BYTES = (0, 4096, 20_000, 100_000, 200_000)
"""What the full disk still takes."""
SHORT_OF_A_CHECKPOINT = (0, 4096, 110_000, 110_000, 140_000)
"""The same for the update role: results, deltas and anchors fit for a while, a checkpoint of 155,184 bytes not."""
COMMAND_LIMIT_S = 20.0
MET_WITHIN_S = (12.0, 30.0)
"""So long a disk stays full, then full to the last byte, at most, until its owner says so."""
NO_ROOM = re.compile(
    r"no space left|disk is full|disk full|make room|file too large|EFBIG|ENOSPC", re.IGNORECASE
)


def run(seed: int, bench: Bench, folder: Path) -> Told:
    """One disk that fills up at a drawn moment, once or twice."""
    rng = random.Random(f"disks {seed}")
    whose = rng.choice(("lab", UPDATE, UPDATE, "node0"))
    with world(bench, folder) as made:
        made.stage.recipe = _saved_at_each_version(made.stage.recipe)
        home = made.site.home(whose)
        home.mkdir(parents=True, mode=0o700)
        with _disk(home) as has_own:
            made.open()
            made.start_nodes(["node0", "node1"])
            if rng.random() < 0.8:
                made.wait_for_version(0)
            met = []
            for _ in range(rng.randint(1, 2)):
                moment(rng, 0.0, 1.5)
                if made.is_over:
                    break
                met.append(_full_for_a_while(made, rng, whose, has_own))
            told = made.told()
            said = said_no_room(made, whose)
            unmet = [] if all(met) else [f"{whose} never said that its disk was full"]
            of_checkpoints = sum(".safetensors" in line for line in said)
            notes = (
                f"{whose}: {told.notes}; said so {len(said)} times, {of_checkpoints} of checkpoints"
            )
            return Told([*told.wrong, *unmet], told.faults, notes, told.hits)


def _saved_at_each_version(recipe: Recipe) -> Recipe:
    each = recipe.run.model_copy(update={"checkpoint_every": 1})
    return recipe.model_copy(update={"run": each})


def said_no_room(made: World, whose: str) -> list[str]:
    """What the owner of a disk said of its being full: in its output, in its logs, to the lab."""
    home = made.site.home(whose)
    texts = (made.site.folder / f"{whose}.out", home / "log.jsonl", home / "child.log")
    said = [line for text in texts if text.exists() for line in _lines(text)]
    if whose != "lab":
        did = made.site.did(whose)
        back = (each for each in made.shown() if isinstance(each, LeaseReturned))
        said += [each.reason for each in back if each.author == did]
    return [line for line in said if NO_ROOM.search(line)]


def _lines(text: Path) -> list[str]:
    return text.read_text(errors="replace").splitlines()


def _full_for_a_while(made: World, rng: random.Random, whose: str, has_own: bool) -> bool:
    """Whether it was met; a run that was over before had no need to."""
    sizes = SHORT_OF_A_CHECKPOINT if whose == UPDATE else FREE_BYTES
    seconds, free = rng.uniform(*FULL_FOR_S), rng.choice(sizes)
    made.note(f"{free} bytes free for {seconds:.1f} s", f"full disk: {role(whose)}")
    home, before = made.site.home(whose), len(said_no_room(made, whose))
    with _full(home, free) if has_own else _bounded(made, whose, free):
        again = rng.random() < 0.3 and whose != "lab"
        if again:  # it also starts on a full disk
            made.kill(whose)
            made.start_again(whose)
        moment(rng, seconds, seconds)
        if not (is_met := _met(made, whose, before, MET_WITHIN_S[0])):
            made.notes.append("then to the last byte")
            with _full(home, 0) if has_own else _bounded(made, whose, 0):
                is_met = _met(made, whose, before, MET_WITHIN_S[1])
    for name, code in made.ended_early().items():
        made.notes.append(f"{name} ended with {code}")
        if code not in (0, 1):
            raise SiteFailed(f"{name} ended with code {code} when its disk was full")
        made.start_again(name)
    return is_met


def _met(made: World, whose: str, before: int, limit_s: float) -> bool:
    """Whether its owner says once more that the disk is full, before the limit; or the run is over."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and not made.is_over:
        if len(said_no_room(made, whose)) > before:
            return True
        time.sleep(POLL_S)
    return made.is_over


@contextmanager
def _disk(home: Path) -> Iterator[bool]:
    """A disk of its own below `home`, if this user may; yields whether it is there."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        yield False
        return
    options = f"size={DISK_BYTES},mode=0700"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(home)],
        capture_output=True,
        timeout=COMMAND_LIMIT_S,
    )
    if done.returncode != 0:  # root in a container may not
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(
            ["umount", "-l", str(home)], capture_output=True, timeout=COMMAND_LIMIT_S, check=True
        )


@contextmanager
def _full(home: Path, free: int) -> Iterator[None]:
    """Only `free` bytes are left, until the block ends."""
    there = list(home.glob(f"{BALLAST}-*"))
    ballast = home / f"{BALLAST}-{len(there)}"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            room = os.statvfs(home)
            left = room.f_bavail * room.f_frsize - free
            if left <= 0:
                break
            file.write(bytes(min(left, 2**20)))
    try:
        yield
    finally:
        ballast.unlink(missing_ok=True)


@contextmanager
def _bounded(made: World, whose: str, free: int) -> Iterator[None]:
    """No file of the process may grow beyond `free` bytes, until the block ends."""
    everyone = (made.site.pid(whose), *made.children(whose))
    for pid in everyone:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (free, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        if whose in made.site.pids():
            everyone = (made.site.pid(whose), *made.children(whose))
        for pid in everyone:
            with suppress(ProcessLookupError):
                unbounded = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, unbounded)
