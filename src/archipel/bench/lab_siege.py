"""A lab under attack: how much of its pace honest work keeps, in windows that alternate with windows of peace.

The lab is a real process on 127.0.0.1; honest nodes (`lab_crowd`) and a learner work all the time, and every other
window strangers are a burden in one of four ways (`lab_attackers`). A pace is answers with a receipt a second.
Law: a window of attack is compared with the windows of peace beside it, in one run of one lab; every receipt is
looked up in the ledger afterwards.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from archipel.bench.lab_attackers import WAYS, AttackJob
from archipel.bench.lab_crowds import Crowds, LoadPlan, Lost, check_counted
from archipel.bench.lab_load import PER_ADDRESS, groups_of, with_sources
from archipel.bench.lab_run import Learner, open_run
from archipel.bench.lab_wire import Voice, Wire
from archipel.bench.processor import memory_bytes
from archipel.bench.site import Site
from archipel.identity import Identity

END_LIMIT_S = 30.0


@dataclass(frozen=True)
class SiegePlan:
    """How long, and how hard."""

    nodes: int = 100
    rounds: int = 3
    """Windows of each attack."""
    window_s: float = 10.0
    settle_s: float = 2.0
    """Before a window, for what the one before left."""
    joins_per_s: float = 200.0
    ways: tuple[str, ...] = tuple(WAYS)
    load: LoadPlan = field(
        default_factory=lambda: replace(LoadPlan(), crowds=1, entries_per_s=100, wait_s=5.0)
    )


QUICK_SIEGE = SiegePlan(nodes=40, rounds=1, window_s=4.0, settle_s=1.0)


@dataclass(frozen=True)
class Siege:
    """What one way of attacking did."""

    way: str
    peace: list[float]
    """Answers a second in the windows of peace: one before each window of attack, one after the last."""
    attack: list[float]
    peace_s: list[float]
    """Seconds from an answer to its receipt."""
    attack_s: list[float]
    came: dict[str, int]
    """What the attackers saw -> how often."""
    rss_peak: int
    machine_load: float

    @property
    def kept(self) -> float:
        """Share of its pace that honest work keeps: the median over windows, each against the peace around it."""
        around = [(a + b) / 2 for a, b in zip(self.peace, self.peace[1:], strict=False)]
        return statistics.median(
            bad / good if good else 0.0 for bad, good in zip(self.attack, around, strict=True)
        )


def measure_siege(
    plan: SiegePlan,
    folder: Path,
    environment: Mapping[str, str],
    tell: Callable[[str], None] = lambda _: None,
) -> list[Siege]:
    """Start a lab in `folder`, let honest nodes work, attack it, end it, and look into its ledger.

    Raises:
        SiteFailed: the lab ended or did not come in time.
        Lost: an answer has a receipt and is not in the ledger; a crowd or attackers ended early.
    """
    environment = with_sources(environment)
    with Site(folder, environment) as site:
        site.start_lab(options=("--per-address", str(PER_ADDRESS)))
        crowds = Crowds(site, plan.nodes, plan.load, environment)
        try:
            sieges, counted = asyncio.run(_Siege(site, crowds, plan, environment, tell).measure())
        finally:
            crowds.kill()
        site.interrupt("lab")
    check_counted(folder / "lab", counted)
    return sieges


class _Siege:
    """One lab, all ways."""

    def __init__(
        self,
        site: Site,
        crowds: Crowds,
        plan: SiegePlan,
        environment: Mapping[str, str],
        tell: Callable[[str], None],
    ) -> None:
        self._site, self._crowds, self._plan = site, crowds, plan
        self._environment, self._tell = environment, tell
        self._lab = site.get("/lab")["lab"]
        self._came: Counter[tuple[str, str]] = Counter()
        self._windows: dict[str, tuple[list[float], list[float]]] = {}
        """Way -> beginnings (monotonic seconds) of its windows of peace, and of attack."""
        self._at_end: dict[str, tuple[int, float]] = {}

    async def measure(self) -> tuple[list[Siege], list[int]]:
        """(figures, places of all counted answers)."""
        plan, place = self._plan, urlsplit(self._site.url)
        await asyncio.to_thread(self._crowds.wait)
        wires = [await Wire.connect(str(place.hostname), int(place.port or 0)) for _ in range(2)]
        groups = groups_of(plan.load, plan.nodes)
        voice = Voice(self._lab, Identity.from_seed(b"learner".ljust(32)))
        learner = Learner(voice, wires[1], groups, 1.0)
        await open_run(wires[0], Voice(self._lab, self._site.operator()), groups, voice.did)
        working = asyncio.create_task(learner.live())
        await asyncio.sleep(plan.load.warm_s)
        for number, way in enumerate(plan.ways):
            self._tell(f"{way}: {plan.rounds} windows of attack")
            await asyncio.to_thread(self._besiege, way, number)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        for wire in wires:
            wire.close()
        seen = await asyncio.to_thread(self._crowds.end)
        records = [tuple(each) for one in seen for each in one["records"]]
        return [self._told(way, records) for way in plan.ways], [each[2] for each in records]

    def _besiege(self, way: str, number: int) -> None:
        peace, attack = self._windows.setdefault(way, ([], []))
        for turn in range(self._plan.rounds):
            peace.append(self._window())
            with self._attackers(way, 100 * number + turn):
                attack.append(self._window())
        peace.append(self._window())
        self._at_end[way] = (memory_bytes(self._site.pid("lab"))[1], os.getloadavg()[0])

    def _window(self) -> float:
        time.sleep(self._plan.settle_s)
        begun = time.monotonic()
        time.sleep(self._plan.window_s)
        self._site.check_alive()
        return begun

    @contextmanager
    def _attackers(self, way: str, seed: int) -> Iterator[None]:
        place, out = urlsplit(self._site.url), self._site.folder / f"attack-{seed}.json"
        host, port = str(place.hostname), int(place.port or 0)
        job = AttackJob(host, port, self._lab, way, seed, self._plan.joins_per_s, str(out))
        path = out.with_suffix(".job.json")
        path.write_text(json.dumps(asdict(job)))
        process = subprocess.Popen(  # noqa: S603  our own program, no shell
            [sys.executable, "-m", "archipel.bench.lab_attackers", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(self._environment),
        )
        try:
            if process.stdout is None or process.stdout.readline() != b"under way\n":
                raise Lost("the attackers ended before they had begun")
            yield
            if process.stdin is not None:
                process.stdin.close()
            process.wait(END_LIMIT_S)
            self._came.update({(way, what): n for what, n in json.loads(out.read_bytes()).items()})
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _told(self, way: str, records: list[Any]) -> Siege:
        inside = [[self._within(records, each) for each in kind] for kind in self._windows[way]]
        paces = [[len(one) / self._plan.window_s for one in kind] for kind in inside]
        taken = [[each for one in kind for each in one] for kind in inside]
        came = {what: n for (its, what), n in sorted(self._came.items()) if its == way}
        (peace, attack), (peace_s, attack_s), (rss, load) = paces, taken, self._at_end[way]
        return Siege(way, peace, attack, peace_s, attack_s, came, rss, load)

    def _within(self, records: list[Any], begun: float) -> list[float]:
        return [taken for at, taken, _ in records if begun <= at < begun + self._plan.window_s]
