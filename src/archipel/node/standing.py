"""What an agent is doing at this moment, and what happened to it: for whoever watches it.

The agent writes, a screen reads. Law: only facts of this process; what cannot be known yet is None.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from archipel.plurals import counted
from archipel.records.exact import CONTRACTS
from archipel.records.kinds import Spec
from archipel.records.statements import LeaseGranted

PROTECTIONS = {
    "network": "no network",
    "file_reads": "reads only its own files",
    "file_writes": "writes only its scratch folder",
    "processes": "sees no other process",
    "no_new_processes": "starts none",
    "system_calls": "few system calls",
    "no_new_privileges": "gains no rights",
    "memory": "bounded memory",
    "file_size": "bounded files",
}
"""What a provider wants to know of `work.sandbox.Report`, in people's words."""
BY_DESIGN = ("no_new_processes", "file_size")
"""Protections that the trusted role's process does without: it starts graders, and writes checkpoints."""
FREE = {
    "no_new_processes": "may start processes, each as confined as it is",
    "network": "may use the network, by which they meet",
}
"""What the work process may do all the same where the engine that was chosen is several processes."""
NO_ANSWER = "no answer"
"""The trouble that is the lab's or the network's."""
PAUSED = "paused by its operator"
"""The trouble that is none: the lab was told to give this node no work."""
MAX_NEWS = 50
"""Whoever does not look for so long misses the oldest."""


class Doing(Enum):
    """What an agent is at."""

    STARTING = "starting the work process"
    MEASURING = "measuring this machine"
    CONNECTING = "connecting"
    KNOCKING = "computing what the lab asks of newcomers"
    WAITING = "waiting for work"
    WORKING = "working"
    RESTING = "resting"
    YIELDING = "waiting until it has the machine"
    DELIVERING = "bringing answers to the lab"
    PAUSED = "paused"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the agent waits, though nobody told it to."""

    what: str
    """In a few words: no answer, refused, the work process failed."""
    reason: str
    retry_at_s: float
    """When it tries again, by the monotonic clock."""


@dataclass
class Standing:
    """One agent's."""

    doing: Doing = Doing.STARTING
    since_s: float = field(default_factory=time.monotonic)
    until_s: float | None = None
    """When the lease at hand, or the rest, is over, by the monotonic clock."""
    work: str | None = None
    """Name of the work at hand."""
    task: str = ""
    """What it consists of."""
    protections: tuple[str, ...] | None = None
    """What confines the work process; None before it is up."""
    why_paused: str = ""
    trouble: Trouble | None = None
    stopping: bool = False
    hurrying: bool = False
    watts: int | None = None
    """What this machine drew while it was measured, where it tells."""
    speed_milli: int = 0
    """Tokens per second by the benchmark, times 1000, if it worked all the time."""
    energy_micro: int | None = None
    """What the energy of an hour of work costs here, in micro-credits; None: nobody is paid."""
    hour: str = ""
    """What an hour of work brings at the last price of the market that it bid in, in words."""
    lab: str = ""
    """Key of the lab that was joined; empty before."""
    news: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_NEWS))
    """What happened since somebody last looked, each in one sentence."""
    runs: dict[str, None] = field(default_factory=dict)
    """Those that it worked for, as far as they are not known to be over."""
    alarms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Run -> what goes wrong in it, for a trusted role (`guard`)."""
    earlier: dict[str, dict[str, int]] = field(default_factory=dict)
    """Run -> kind of every alarm that was told of it, and the version at which it was first."""

    def confined(self, protections: Sequence[str], is_trusted: bool, engines: str = "") -> None:
        """A child came up, with these protections. engines: what is several processes, if something is."""
        self.protections = tuple(protections)
        by_design = BY_DESIGN if is_trusted else tuple(FREE) if engines else ()
        self.news.append(protection_of(self.protections, by_design, engines))

    def measured(self, exact: Sequence[str], faults: Sequence[str]) -> None:
        """What this machine can do by the exact contract, and why not all of it."""
        names = [name for name, contract in CONTRACTS.items() if contract in exact]
        if names:
            self.news.append(f"exact: the known vectors came out right for {', '.join(names)}")
        self.news.extend(faults)

    def joined(self, lab: str, speed_milli: int) -> None:
        """The lab took this node in."""
        measured = f", at {speed_milli / 1000:.0f} tokens/s" if speed_milli else ""
        self.lab = lab
        self.news.append(f"joined lab {lab}{measured}")

    def turned(self, former: str, lab: str, address: str, *, is_trusted: bool) -> None:
        """Another lab continues the one that was joined."""
        who = "trusted role" if is_trusted else "node"
        self.lab = lab
        self.news.append(
            f"the lab {former} is continued by {lab} at {address}: this {who} works for that one now"
        )

    def at(self, doing: Doing, until_s: float | None = None) -> None:
        """From now on the agent does this."""
        if doing is not self.doing:
            self.since_s = time.monotonic()
        self.doing, self.until_s = doing, until_s
        if doing is not Doing.WORKING:
            self.work, self.task = None, ""

    def paused(self, why: str) -> None:
        """The operator's rules leave the machine to others (empty: they do not)."""
        if why != self.why_paused:
            self.news.append(f"paused: {why}" if why else "no longer paused")
        self.why_paused = why

    def works_on(self, grant: LeaseGranted, left_s: float) -> None:
        """A lease came, and is good for this long."""
        self.work, self.task, self.trouble = grant.work, task_of(grant.spec), None
        self.runs[grant.spec.run] = None
        self.at(Doing.WORKING, time.monotonic() + left_s)

    def without_work(self) -> None:
        """The lease is over, one way or the other."""
        self.work, self.task, self.until_s = None, "", None

    def troubled(self, what: str, reason: str, wait_s: float) -> None:
        """Something failed; it is tried again after `wait_s`."""
        if self.trouble is None or self.trouble.what != what:
            self.news.append(f"{what}: {reason}")
        if what != NO_ANSWER:  # else the lease stays good
            self.without_work()
        self.trouble = Trouble(what, reason, time.monotonic() + wait_s)

    def well(self) -> None:
        """It went well after all."""
        if self.trouble is not None:
            is_lab = self.trouble.what == NO_ANSWER
            again = "the lab answers again" if is_lab else f"no more trouble ({self.trouble.what})"
            self.news.append(again)
        self.trouble = None


def protection_of(
    protections: Sequence[str], by_design: Sequence[str] = (), engines: str = ""
) -> str:
    """What confines the work process on this machine, and what does not, in words.

    by_design: what is not even tried; for `engines`, which is told, if they are why.
    """
    held = [words for name, words in PROTECTIONS.items() if name in protections]
    expected = [name for name in PROTECTIONS if name not in by_design]
    missing = [PROTECTIONS[name] for name in expected if name not in protections]
    if not held:
        return "NOTHING confines the work process on this machine: run it under a user of its own"
    said = f"the work process is confined: {', '.join(held)}"
    if free := [FREE[name] for name in by_design if engines and name not in protections]:
        said += f"; for {engines} it {' and '.join(free)}"
    return f"{said}; NOT on this machine: {', '.join(missing)}" if missing else said


def task_of(spec: Spec) -> str:
    """What a piece of work consists of."""
    version, groups = getattr(spec, "version", None), getattr(spec, "groups", None)
    if groups:
        return f"{counted(len(groups), 'group')} of version {version}"
    return spec.kind if version is None else f"{spec.kind} {version}"
