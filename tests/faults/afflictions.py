"""What a storm does to one process while it works: it ends, sleeps, is short of something, or has the wrong time.

Each affliction takes hold at once and says how it is taken back; what a process no longer has, because it ended,
needs no taking back.
"""

import os
import random
import resource
import signal
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path

Undo = Callable[[], None]
SPARE_DESCRIPTORS = (0, 1, 3)
SPARE_MEMORY = (2**20, 8 * 2**20, 64 * 2**20)
FILE_BYTES = (0, 4096, 20_000, 110_000)
"""No file may grow beyond so many: what a full disk is to whoever writes."""
STARVED = (
    "MemoryError",
    "OSError: [Errno 24]",
    "ImportError",
    "OSError: [Errno 12]",
    "SystemError: error return without exception set",
    "ValueError: unsupported hash type",
    "?",
)
"""How Python itself ends a process that it cannot load for want of memory or descriptors, the last where it has none to say
why: none of our lines can, before
`archipel` runs. From there on it is a sentence (`watching.IN_OURS`). Whoever manages services starts it again, and nothing
that it promised is in memory alone.
"""
UNLOADED = 127
"""How the system's loader ends a process without memory, before Python begins."""
UNFLUSHED = 120
"""How Python itself ends a process in order whose last words do not fit on the disk."""
STARVING = frozenset({"memory", "descriptors"})
STEPS_S = (1.0, 90.0, 3600.0, 43_200.0)


def stalled(pids: Sequence[int], rng: random.Random) -> Undo:
    """They sleep."""
    _told(pids, signal.SIGSTOP)
    return lambda: _told(pids, signal.SIGCONT)


def without_descriptors(pids: Sequence[int], rng: random.Random) -> Undo:
    """They may open next to nothing more."""
    spare = rng.choice(SPARE_DESCRIPTORS)
    return _bounded(pids, resource.RLIMIT_NOFILE, lambda pid: _descriptors(pid) + spare)


def without_memory(pids: Sequence[int], rng: random.Random) -> Undo:
    """They may have next to no more memory than they have."""
    spare = rng.choice(SPARE_MEMORY)
    return _bounded(pids, resource.RLIMIT_AS, lambda pid: _memory_bytes(pid) + spare)


def without_disk(pids: Sequence[int], rng: random.Random) -> Undo:
    """No file grows."""
    size = rng.choice(FILE_BYTES)
    return _bounded(pids, resource.RLIMIT_FSIZE, lambda pid: size)


SHORT_OF: dict[str, Callable[[Sequence[int], random.Random], Undo]] = {
    "stall": stalled,
    "descriptors": without_descriptors,
    "memory": without_memory,
    "full disk": without_disk,
}
"""What passes -> how it begins."""


def is_borne(code: int, short_of: Collection[str]) -> bool:
    """Whether a process that ended unasked may have ended so. short_of: words of `SHORT_OF` that befell it."""
    is_starved = not STARVING.isdisjoint(short_of)
    is_full = code == UNFLUSHED and "full disk" in short_of
    return code in (0, 1) or ((code < 0 or code == UNLOADED) and is_starved) or is_full


def stepped(clock: Path, rng: random.Random) -> None:
    """The process whose clock this file is has another time from now on."""
    partial = clock.with_suffix(".partial")
    partial.write_text(f"{rng.choice((-1, 1)) * rng.choice(STEPS_S):+} 1.0")
    partial.replace(clock)


def spoilt(files: Sequence[Path], rng: random.Random) -> bool:
    """One bit of one of these files is another; False: there is none to spoil."""
    with suppress(OSError):  # it was taken away meanwhile
        found = [path for path in sorted(files) if path.is_file() and path.stat().st_size]
        if found:
            path = rng.choice(found)
            data = bytearray(path.read_bytes())
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            mode = path.stat().st_mode
            path.chmod(0o600)
            with path.open("r+b") as file:
                file.write(data)
            path.chmod(mode)
            return True
    return False


def _bounded(pids: Sequence[int], what: int, most: Callable[[int], int]) -> Undo:
    before: dict[int, tuple[int, int]] = {}
    for pid in pids:
        with suppress(OSError):
            soft, hard = resource.prlimit(pid, what)
            before[pid] = (soft, hard)
            least = most(pid) if hard == resource.RLIM_INFINITY else min(most(pid), hard)
            resource.prlimit(pid, what, (least, hard))

    def lifted() -> None:
        for pid, limits in before.items():
            with suppress(OSError):
                resource.prlimit(pid, what, limits)

    return lifted


def _told(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _descriptors(pid: int) -> int:
    """The highest that is open, and one: a limit is on the number, not on how many."""
    return max((int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()), default=0) + 1


def _memory_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
