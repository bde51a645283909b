"""Whoever looks at a lab while it runs: what was once shown, what it said last, what is left of it."""

import base64
import ctypes
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from faults.evidence import Live

POLL_S = 0.25
PAGE = 1000
LAST_CHANCE_S = 5.0
"""A process whose parent was killed may take so long to notice and end."""
TRACEBACK = "Traceback (most recent call last):"
UNCAUGHT = "<frozen runpy>"
"""The first frame of a process: who catches an exception to log it stands further in."""
NOT_STARTED = tuple(
    f"Python runtime state: {state}\n" for state in ("core initialized", "initialized")
)
"""The last line before a traceback of Python's own start."""
OUR_FIRST = 'cli/archipel.py", line '
"""A frame of the program in which errors become sentences."""
IN_OURS = "not told in a sentence: "
SAYS_WHERE = {"PYTHONFAULTHANDLER": "1"}
"""With this variable a process that is aborted says where each of its threads stands."""
_SET_CHILD_SUBREAPER = 36


class Watcher(threading.Thread):
    """Reads the ledger of a lab over and over, as any stranger may, and keeps what it was shown."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        """Where it asks next."""
        self._over = threading.Event()
        self.entries: dict[int, bytes] = {}
        self.changed: list[str] = []
        """Entries that were shown twice, and differently."""

    def run(self) -> None:
        """Until `stop`; a lab that does not answer is asked again."""
        with httpx.Client(timeout=5.0, trust_env=False) as http:
            while not self._over.wait(POLL_S):
                try:
                    self._look(http)
                except (httpx.HTTPError, ValueError):
                    continue  # down, or cut off in the middle

    def stop(self) -> None:
        """No more questions."""
        self._over.set()
        self.join()

    def _look(self, http: httpx.Client) -> None:
        start = max(len(self.entries) - 5, 0)  # some again: they must not have changed
        answer = http.get(f"{self.url}/ledger/entries?start={start}&limit={PAGE}")
        if answer.status_code != httpx.codes.OK:
            return
        for number, text in enumerate(answer.json(), start):
            data = base64.b64decode(text)
            if self.entries.setdefault(number, data) != data:
                self.changed.append(f"entry {number} was shown differently later")


def said_last(http: httpx.Client, url: str, run: str) -> Live:
    """Version and balances, from the lab's own mouth."""
    version = http.get(f"{url}/runs/{run}").json()["version"]
    nodes = http.get(f"{url}/nodes?all=1&start=0&limit={PAGE}").json()  # all have left by then
    return Live(version, {each["node"]: each["credit_micro"] for each in nodes})


def logged_as_accepted(log: Path) -> list[str]:
    """Works of which an agent's log says that the lab accepted them; a torn line ends nothing."""
    works = []
    for line in log.read_text(errors="replace").splitlines() if log.exists() else ():
        try:
            told = json.loads(line)
        except json.JSONDecodeError:
            continue  # the agent was killed while it wrote
        if told.get("event") == "accepted":
            works.append(told["work"])
    return works


def last_traceback(output: Path) -> str | None:
    """The line that a traceback in there ends with; of a work process only one that ended it, as it logs others.

    What Python says when it is interrupted before it has started, none of our lines can say otherwise; what ends the program
    where errors become sentences is marked.
    """
    text = output.read_text(errors="replace") if output.exists() else ""
    before, *parts = text.split(TRACEBACK)
    found = [
        part
        for part, first in zip(parts, [before, *parts], strict=False)
        if (UNCAUGHT in part or output.suffix == ".out") and not first.endswith(NOT_STARTED)
    ]
    if not found:
        return None
    last = next((line for line in found[-1].splitlines()[1:] if line and line[0] != " "), "?")
    return f"{IN_OURS}{last}" if OUR_FIRST in found[-1] and " in _run\n" in found[-1] else last


@contextmanager
def heir_of_orphans() -> Iterator[set[int]]:
    """While the block lasts, processes whose parents died become ours, so none is overlooked.

    Yields the children that were there before.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield set(_children())
    finally:
        ctypes.CDLL(None, use_errno=True).prctl(_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def orphans_but(known: set[int]) -> list[str]:
    """Our children that do not end by themselves; they are ended here, and named."""
    deadline = time.monotonic() + LAST_CHANCE_S
    while left := [pid for pid in _children() if pid not in known and not _reaped(pid)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    named = [f"{pid}: {_command(pid)}" for pid in left]
    for pid in left:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return named


def made_to_end(process: "subprocess.Popen[bytes]") -> None:
    """End one that was told to and did not; what it says tells where each of its threads stood (`SAYS_WHERE`)."""
    for number in (signal.SIGCONT, signal.SIGABRT):
        process.send_signal(number)
    try:
        process.wait(LAST_CHANCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _children() -> list[int]:
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that is just ending
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:200]
    except OSError:
        return "?"
