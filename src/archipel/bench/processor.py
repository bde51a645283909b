"""Processor time of this process and everything it started, and which cores they may use (Linux).

Elsewhere the time is NaN and the cores are left alone: figures say what they do not know.
"""

import contextlib
import math
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_PARENT, _USER, _SYSTEM = 1, 11, 12
"""Fields of /proc/PID/stat after the parenthesised name, from 0 (proc_pid_stat(5))."""


def tree_seconds(root: int | None = None) -> float:
    """Processor seconds of all living descendants of `root` (default: this process), itself left out.

    What a descendant's ended children used is not counted.
    """
    used = seconds_by_depth(os.getpid() if root is None else root)
    return math.fsum(seconds for depth, seconds in used.items() if depth > 0) if used else math.nan


def seconds_by_depth(root: int) -> dict[int, float]:
    """Generation below `root` (0: itself) -> processor seconds of its living members.

    Empty when nobody can tell, or `root` is gone.
    """
    if not _PROC.is_dir():
        return {}
    children: dict[int, list[int]] = defaultdict(list)
    ticks: dict[int, int] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (found := _stat(entry)) is not None:
            parent, ticks[int(entry.name)] = found
            children[parent].append(int(entry.name))
    used: dict[int, float] = {}
    generation = [root] if root in ticks else []
    while generation:
        used[len(used)] = sum(ticks[pid] for pid in generation) / os.sysconf("SC_CLK_TCK")
        generation = [child for pid in generation for child in children[pid]]
    return used


def process_seconds(pid: int) -> float:
    """Processor seconds that a process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / os.sysconf("SC_CLK_TCK")


def memory_bytes(pid: int) -> tuple[int, int]:
    """(resident now, highest so far), in bytes (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    named = dict(line.split(":", 1) for line in lines if line.startswith(("VmRSS", "VmHWM")))
    now, most = (int(named[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def _stat(process: Path) -> tuple[int, int] | None:
    """(parent, ticks used); None when the process ended meanwhile."""
    try:
        text = (process / "stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return int(fields[_PARENT]), int(fields[_USER]) + int(fields[_SYSTEM])


@contextlib.contextmanager
def confined_to(num_cores: int) -> Iterator[int]:
    """Let this process and what it starts use only `num_cores` cores; yields how many there are."""
    if not hasattr(os, "sched_setaffinity"):
        yield os.cpu_count() or 1
        return
    before = os.sched_getaffinity(0)
    chosen = sorted(before)[:num_cores]
    os.sched_setaffinity(0, chosen)
    try:
        yield len(chosen)
    finally:
        os.sched_setaffinity(0, before)


def tree_memory(root: int) -> int:
    """The largest resident memory, in bytes, of any living process in the tree below and with `root`; 0: unknown."""
    if not _PROC.is_dir():
        return 0
    children: dict[int, list[int]] = defaultdict(list)
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (found := _stat(entry)) is not None:
            children[found[0]].append(int(entry.name))
    waiting, most = [root], 0
    while waiting:
        pid = waiting.pop()
        waiting += children[pid]
        with contextlib.suppress(OSError, KeyError, ValueError):
            most = max(most, memory_bytes(pid)[0])
    return most
