"""A lab with everything that pages show: runs that learn, a market, audits with a liar in them, owners, a chronicle."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import courtroom
from archipel.dashboard.chronicle.reading import Chronicle
from archipel.dashboard.chronicle.writing import ChronicleWriter
from archipel.dashboard.chronicled import Chronicled
from archipel.dashboard.http.routes import Site
from archipel.dashboard.told import Told
from archipel.lab.entry import read_examined
from archipel.lab.look_source import LabSource
from archipel.lab.recovery import pages
from archipel.lab.retelling import retelling
from archipel.lab.state import LabState
from archipel.records.compute import ComputePledged
from archipel.records.kinds.evaluate import EvaluateSpec
from archipel.records.page_documents import ReleaseView
from archipel.records.statements import LeaseGranted
from people import Cheat, Learner, Provider, identity
from trading import TERMS, exchange_at
from world import World

RELEASES = (
    ReleaseView(
        name="ferry-1",
        run="harbour",
        signed_by=identity("operator").did,
        made_ms=1_800_000_500_000,
        openness=(("MOF", "Class I"), ("OSAID", "open")),
        holds=True,
        size_bytes=12_345_678,
        files=17,
        shares=((identity("north").did, 600_000), ("treasury", 400_000)),
        shaped_by=((identity("north").did, 700_000), (identity("south").did, 300_000)),
        parents=("smollm2-135m",),
    ),
)


class Measuring(Learner):
    """A learner whose versions measure what a run that learns measures."""

    says = ""

    def words(self, grant: LeaseGranted) -> dict[str, Any]:
        told = super().words(grant)
        version = getattr(grant.spec, "version", None)
        if version is None or "metrics" not in told:
            return told
        if isinstance(grant.spec, EvaluateSpec):
            return told | {"metrics": exam(version)}
        return told | {"metrics": measured(version) if version else {"full_bytes": 4_096_000}}


def measured(version: int) -> dict[str, int]:
    reward = 0.2 + 0.6 * (1 - math.exp(-version / 9)) + 0.03 * math.sin(version * 2.1)
    return {
        "reward_micro": round(reward * 1e6),
        "loss_micro": round((0.4 * math.exp(-version / 12) + 0.02 * math.cos(version)) * 1e6),
        "entropy_micro": round((1.4 - 0.02 * version) * 1e6),
        "mismatch_kl_micro": 1_200 + 90 * (version % 5),
        "groups": 4,
        "tokens": 3_000 + 40 * version,
        "staleness_mean_micro": 400_000 + 90_000 * (version % 4),
        "staleness_max": 1,
        "delta_bytes": 61_000 + 900 * (version % 7),
        "finished_fraction_micro": 910_000,
        "grade_ms": 40,
        "train_ms": 300 + 9 * (version % 6),
    }


def exam(version: int) -> dict[str, int]:
    right = round((0.15 + 0.7 * (1 - math.exp(-version / 8))) * 1e6)
    return {"greedy": right, "greedy_low": max(right - 60_000, 0), "greedy_high": min(right + 60_000, 10**6), "tasks": 200}  # fmt: skip


@dataclass
class PagesWorld:
    """The lab, its chronicle, and the site over both."""

    world: World
    path: Path
    learner: Measuring
    nodes: list[Provider]
    site: Site
    _state: LabState

    def step(self, ms: int = 900) -> None:
        """Everybody works once, on every run."""
        for each in self.nodes:
            granted = each.ask()
            if granted is not None:
                self.world.tick(ms)
                each.answer(granted)
        for _ in range(4):
            granted = self.learner.ask()
            if granted is None:
                break
            self.world.now_ms += ms
            self.learner.answer(granted)

    def tell(self) -> None:
        """The chronicle takes in what is new."""
        entries = (read_examined(each) for each in pages(self.world.lab.log, self._state.size))
        with ChronicleWriter(self.path, self.world.state.lab) as writer:
            told = []
            for state, each in retelling(self._state, entries):
                self._state = state
                told.append(Told(each.number, each.at_ms, each.statement, each.postings))
            for start in range(0, len(told), 500):
                writer.take(told[start : start + 500])

    def close(self) -> None:
        self.world.close()


def pages_world(folder: Path, versions: int = 6, steps: int = 12) -> PagesWorld:
    """A story of some seconds of the lab's time, told to the end."""
    world = World(folder, ledger_on_disk=False)
    world.open_run("run", exact=courtroom.EXACT, audit=courtroom.ALWAYS, versions=versions, max_groups_per_lease=2, evaluate_every=2)  # fmt: skip
    learner = Measuring(world, identity("learner"), kinds=("update", "evaluate", "audit"))
    learner.join()
    learner.work()
    nodes = [courtroom.node(world, name) for name in ("north", "south", "east")]
    for each, more in (
        (nodes[0], {"hours": 40}),
        (nodes[1], {"share": 250_000, "purpose": "ferries"}),
    ):
        each.speak(ComputePledged, name=16 * "a", until_ms=world.now_ms + 30 * 86_400_000, **more)
    cheat = courtroom.node(world, "sly", Cheat)
    found = PagesWorld(
        world, folder / "chronicle.sqlite", learner, nodes, None, LabState(lab=world.state.lab)
    )  # type: ignore[arg-type]
    source = LabSource(world.lab)
    found.site = Site(source, Chronicled(Chronicle(found.path)), lambda: RELEASES)
    courtroom.sampled(world, cheat)
    courtroom.draw(world)
    for each in nodes[:2]:
        courtroom.audited(world, each)
    for _ in range(steps):
        found.step()
    market = exchange_at(
        world, TERMS.model_copy(update={"central_micro": 880_000}), "harbour", versions=versions
    )
    market.measured("west", "far")
    market.sell(west=400_000, far=700_000)
    found.nodes += market.nodes
    for _ in range(steps // 2):
        found.step()
    world.tick(TERMS.period_ms)
    market.sell(west=380_000, far=500_000)
    found.tell()
    return found
