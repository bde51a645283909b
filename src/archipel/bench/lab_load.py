"""A lab under load: N nodes wait by long poll, a learner publishes, answers come in; what that costs.

The lab is a real process on 127.0.0.1, the nodes are light (`lab_crowd`), one run is open. Two windows
are measured: everybody waits and nothing happens; then `entries_per_s` ledger entries a second.
Law: bounded in number and time, and it ends by itself; what was counted has to be in the ledger.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from archipel.bench.lab_crowd import CrowdJob
from archipel.bench.lab_run import RUN, Learner, open_run
from archipel.bench.lab_wire import Voice, Wire
from archipel.bench.site import Site
from archipel.identity import Identity
from archipel.ledger.location import read_log
from archipel.ledger.verification import lab_key

PER_ADDRESS = 30_000
JOIN_LIMIT_S = 600.0
END_LIMIT_S = 120.0
PROBE_S = 0.1
"""Between two pages that a visitor looks at."""
PAGES = ("/healthz", f"/runs/{RUN}", "/nodes?limit=100")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class LoadPlan:
    """How hard a lab is pressed."""

    entries_per_s: int = 300
    """Aim; half of them are grants, half are answers. Few nodes cannot reach it."""
    idle_s: float = 15.0
    warm_s: float = 10.0
    measured_s: float = 60.0
    wait_s: float = 30.0
    """Of a long poll."""
    work_s: float = 1.0
    crowds: int = 2
    is_next_asked: bool = True


@dataclass(frozen=True)
class Load:
    """What one lab did for `nodes` nodes; latencies in seconds."""

    nodes: int
    entries_per_s: float
    polls_per_s: float
    records: list[float]
    """From sending an answer to its receipt."""
    grants: list[float]
    """From the learner's receipt of a version to a waiting node's lease."""
    grants_sent: list[float]
    """The same, from sending the version: with its own way into the ledger."""
    pages: dict[str, list[float]]
    joins: list[float]
    faults: dict[str, int]
    counted: int
    """Answers with a receipt, over the whole run."""
    lab_cores: float
    """Processor seconds of the lab per second of the measured window."""
    idle_cores: float
    idle_polls_per_s: float
    rss_start: int
    rss_waiting: int
    rss_end: int
    rss_peak: int
    machine_load: float
    """Load average over one minute at the end of the window."""

    @property
    def bytes_per_node(self) -> float:
        """Memory of the lab for one node that waits."""
        return (self.rss_waiting - self.rss_start) / self.nodes

    @property
    def seconds_per_poll(self) -> float:
        """Processor time of a poll that brings nothing."""
        return self.idle_cores / self.idle_polls_per_s if self.idle_polls_per_s else float("nan")

    @property
    def seconds_per_entry(self) -> float:
        """Processor time of a ledger entry, handouts included, polls left out."""
        polls = self.polls_per_s * self.seconds_per_poll if self.idle_polls_per_s else 0.0
        return (self.lab_cores - polls) / self.entries_per_s if self.entries_per_s else float("nan")


def with_sources(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which a process runs this very program, wherever it lies."""
    return {**environment, "PYTHONPATH": str(Path(__file__).parents[2])}


def groups_of(plan: LoadPlan, nodes: int) -> int:
    """Leases a second: as planned, or what so few nodes can do at ease."""
    return max(1, min(plan.entries_per_s // 2, int(nodes / plan.work_s / 2)))


def measure_load(
    nodes: int,
    plan: LoadPlan,
    folder: Path,
    environment: Mapping[str, str],
    tell: Callable[[str], None] = lambda _: None,
) -> Load:
    """Start a lab in `folder`, press it, end it, and look into its ledger.

    Raises:
        SiteFailed: the lab or a crowd ended or did not come in time.
        Lost: an answer has a receipt and is not in the ledger.
    """
    environment = with_sources(environment)
    with Site(folder, environment) as site:
        site.start_lab(options=("--per-address", str(PER_ADDRESS)))
        crowds = Crowds(site, nodes, plan, environment)
        try:
            measuring = _Measuring(site, crowds, nodes, plan, tell)
            load, counted = asyncio.run(measuring.measure())
        finally:
            crowds.kill()
        site.interrupt("lab")
    check_counted(folder / "lab", counted)
    return load


class Lost(RuntimeError):
    """The lab gave a receipt for what its ledger does not hold."""


def check_counted(home: Path, indices: list[int]) -> None:
    """Every index is that of an answer in the ledger, and none was given twice."""
    if len(set(indices)) != len(indices):
        raise Lost("two answers have the same place in the ledger")
    key = lab_key(Identity.load(home / "lab.key").did)
    log = read_log(home / "ledger.sqlite", key, home / "ledger.head")
    try:
        wanted = set(indices)
        for index, entry in enumerate(log.entries()):
            if index in wanted and _kind(entry) == "work.answered":
                wanted.discard(index)
    finally:
        log.close()
    if wanted:
        raise Lost(f"{len(wanted)} receipts name no answer, for instance entry {min(wanted)}")


def _kind(entry: bytes) -> str:
    import base64

    return str(json.loads(base64.b64decode(json.loads(entry)["record"]["payload"]))["kind"])


class Crowds:
    """The processes that stand for the nodes."""

    def __init__(
        self, site: Site, nodes: int, plan: LoadPlan, environment: Mapping[str, str]
    ) -> None:
        place, lab = urlsplit(site.url), site.get("/lab")["lab"]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._outs: list[Path] = []
        for number in range(min(plan.crowds, nodes)):
            out = site.folder / f"crowd-{number}.json"
            share = len(range(number, nodes, min(plan.crowds, nodes)))
            job = CrowdJob(
                str(place.hostname), int(place.port or 0), lab, share, number, plan.wait_s,
                plan.work_s, plan.is_next_asked, str(out),
            )  # fmt: skip
            path = out.with_suffix(".job.json")
            path.write_text(json.dumps(asdict(job)))
            self._outs.append(out)
            self._processes.append(
                subprocess.Popen(  # noqa: S603  our own program, no shell
                    [sys.executable, "-m", "archipel.bench.lab_crowd", str(path)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=dict(environment),
                )
            )

    def wait(self) -> None:
        """Until every node waits for work."""
        for process in self._processes:
            if process.stdout is None or process.stdout.readline() != b"waiting\n":
                raise Lost("a crowd ended before its nodes had joined")

    def end(self) -> list[dict[str, Any]]:
        """What each crowd saw."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in self._processes:
            process.wait(END_LIMIT_S)
        return [json.loads(out.read_bytes()) for out in self._outs]

    def kill(self) -> None:
        """Whatever is left of them."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


@dataclass(frozen=True)
class _Moment:
    """What the lab had used at a time."""

    at_s: float
    cpu_s: float


class _Measuring:
    """One lab, from its first node to the end of its window."""

    def __init__(
        self, site: Site, crowds: Crowds, nodes: int, plan: LoadPlan, tell: Callable[[str], None]
    ) -> None:
        self._site = site
        self._crowds = crowds
        self._nodes = nodes
        self._plan = plan
        self._tell = tell
        self._pages: list[tuple[float, str, float]] = []
        self._pid = site.pid("lab")

    async def measure(self) -> tuple[Load, list[int]]:
        """(figures, places of all counted answers)."""
        plan, rss_start = self._plan, memory_bytes(self._pid)[0]
        place, lab = urlsplit(self._site.url), self._site.get("/lab")["lab"]
        async with asyncio.timeout(JOIN_LIMIT_S):
            await asyncio.to_thread(self._crowds.wait)
        self._tell(f"{self._nodes} nodes wait")
        idle = [self._now()]
        await asyncio.sleep(plan.idle_s)
        idle.append(self._now())
        rss_waiting = memory_bytes(self._pid)[0]
        wires = [await Wire.connect(str(place.hostname), int(place.port or 0)) for _ in range(3)]
        groups = groups_of(plan, self._nodes)
        learner = Learner(
            Voice(lab, Identity.from_seed(b"learner".ljust(32))), wires[1], groups, 1.0
        )
        operator = Voice(lab, self._site.operator())
        await open_run(wires[0], operator, groups, learner.voice.did)
        async with asyncio.TaskGroup() as tasks:
            working = tasks.create_task(learner.live())
            probing = tasks.create_task(self._probe(wires[2]))
            await asyncio.sleep(plan.warm_s)
            window = [self._now()]
            await asyncio.sleep(plan.measured_s)
            window.append(self._now())
            machine_load = os.getloadavg()[0]
            rss_end, rss_peak = memory_bytes(self._pid)
            probing.cancel()
            working.cancel()
        seen = await asyncio.to_thread(self._crowds.end)
        for wire in wires:
            wire.close()
        figures = _Figures(seen, learner, self._pages, idle, window)
        return figures.load(
            nodes=self._nodes, rss_start=rss_start, rss_waiting=rss_waiting, rss_end=rss_end,
            rss_peak=rss_peak, machine_load=machine_load,
        ), figures.indices()  # fmt: skip

    def _now(self) -> _Moment:
        return _Moment(time.monotonic(), process_seconds(self._pid))

    async def _probe(self, wire: Wire) -> None:
        while True:
            for page in PAGES:
                began = time.monotonic()
                reply = await wire.send(f"GET {page}")
                shown = page if reply.status == 200 else f"{page} {reply.status}"
                self._pages.append((began, shown, time.monotonic() - began))
                await asyncio.sleep(PROBE_S)


@dataclass(frozen=True)
class _Figures:
    """From what was seen to what is said."""

    seen: list[dict[str, Any]]
    learner: Learner
    pages: list[tuple[float, str, float]]
    idle: list[_Moment]
    window: list[_Moment]

    def indices(self) -> list[int]:
        """Places in the ledger of all counted answers."""
        return [index for each in self.seen for _, _, index in each["records"]]

    def load(self, **given: Any) -> Load:
        """Everything that happened in the window."""
        first, last = self.window
        seconds = last.at_s - first.at_s
        records = self._within("records", first.at_s, last.at_s)
        grants = self._within("grants", first.at_s, last.at_s)
        polls = [at_s for each in self.seen for at_s in each["polls"]]
        faults: Counter[str] = Counter()
        for each in self.seen:
            faults.update(each["faults"])
        faults.update(page for _, page, _ in self.pages if page not in PAGES)
        idle_s = self.idle[1].at_s - self.idle[0].at_s
        return Load(
            entries_per_s=(len(records) + len(grants)) / seconds,
            polls_per_s=_count(polls, first.at_s, last.at_s) / seconds,
            records=[taken_s for _, taken_s, _ in records],
            grants=self._since(self.learner.told, grants),
            grants_sent=self._since(self.learner.sent, grants),
            pages={
                page: [
                    taken_s
                    for at_s, shown, taken_s in self.pages
                    if shown == page and first.at_s <= at_s < last.at_s
                ]
                for page in PAGES
            },
            joins=[taken_s for each in self.seen for _, taken_s in each["joins"]],
            faults=dict(faults),
            counted=len(self.indices()),
            lab_cores=(last.cpu_s - first.cpu_s) / seconds,
            idle_cores=(self.idle[1].cpu_s - self.idle[0].cpu_s) / idle_s,
            idle_polls_per_s=_count(polls, self.idle[0].at_s, self.idle[1].at_s) / idle_s,
            **given,
        )

    def _within(self, what: str, start_s: float, end_s: float) -> list[tuple[float, float, int]]:
        return [
            (at_s, other, number)
            for each in self.seen
            for at_s, other, number in each[what]
            if start_s <= at_s < end_s
        ]

    def _since(
        self, published: Mapping[int, float], grants: list[tuple[float, float, int]]
    ) -> list[float]:
        """Of nodes that waited already; a lease may be here before the learner's own receipt."""
        return [
            max(at_s - published[version], 0.0)
            for at_s, asked_s, version in grants
            if version in published and asked_s < published[version]
        ]


def _count(times: list[float], start_s: float, end_s: float) -> int:
    return sum(start_s <= at_s < end_s for at_s in times)


def process_seconds(pid: int) -> float:
    """Processor seconds that a process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_bytes(pid: int) -> tuple[int, int]:
    """(resident now, highest so far), in bytes (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    named = dict(line.split(":", 1) for line in lines if line.startswith(("VmRSS", "VmHWM")))
    now, most = (int(named[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, most
