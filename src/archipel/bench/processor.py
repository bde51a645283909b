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
    if not _PROC.is_dir():
        return math.nan
    children: dict[int, list[int]] = defaultdict(list)
    ticks: dict[int, int] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (found := _stat(entry)) is not None:
            parent, ticks[int(entry.name)] = found
            children[parent].append(int(entry.name))
    total, waiting = 0, list(children[root or os.getpid()])
    while waiting:
        pid = waiting.pop()
        total += ticks[pid]
        waiting += children[pid]
    return total / os.sysconf("SC_CLK_TCK")


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
