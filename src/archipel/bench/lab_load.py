"""A lab under load: N nodes wait by long poll, a learner publishes, answers come in; what that costs.

The lab is a real process on 127.0.0.1, the nodes are light (`lab_crowd`), one run is open. Two windows
are measured: everybody waits and nothing happens; then `entries_per_s` ledger entries a second.
Law: bounded in number and time, and it ends by itself; what was counted has to be in the ledger.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from archipel.bench.lab_crowds import Crowds, LoadPlan, check_counted
from archipel.bench.lab_run import RUN, Learner, open_run
from archipel.bench.lab_wire import Voice, Wire
from archipel.bench.processor import memory_bytes, process_seconds
from archipel.bench.site import Site
from archipel.identity import Identity

PER_ADDRESS = 30_000
JOIN_LIMIT_S = 900.0
PROBE_S = 0.1
"""Between two pages that a visitor looks at."""
PAGES = ("/healthz", f"/runs/{RUN}", "/nodes?limit=100")


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
        lab_crowds.Lost: an answer has a receipt and is not in the ledger.
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
