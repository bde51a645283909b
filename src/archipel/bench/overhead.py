"""What does distributing a run cost beside its training? Processor time, requests and bytes an update.

Two arms per seed, in turn, in an order that changes with the seed: the recipe in one process, and the
same recipe over a lab, an update process and nodes on this machine. Both start from the same weights and
make the same updates; the first versions are left out, and with them imports, starts and joining. Parts:
`Expense` (the measurement), `overhead_report` (what is shown of it).
What it does not show: wall-clock (`peers` does), more than one machine, real networks, many nodes; the
learner's grading process and the nodes' engines count as distribution where they exceed the central loop.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file

from archipel.bench.central import Bench, prepare
from archipel.bench.kept import Asked, Kept, attempt
from archipel.bench.peers_job import Job, run_job
from archipel.bench.processor import seconds_by_depth
from archipel.bench.site import Site, SiteFailed
from archipel.model.directory import read_model, write_model
from archipel.model.manifest import describe
from archipel.records.documents import RunView
from archipel.records.recipe import Recipe

CENTRAL, DISTRIBUTED = "central", "distributed"
LAB, AGENT, CHILD, GRADER = "lab", "agent", "child", "grader"
SIZES = ("demo", "30m")
RUN_LIMIT_S = 3600.0
JOIN_LIMIT_S = 120.0
LOOK_S = 1.0
"""Between looks at the run: each costs the lab a request, which is counted as ours."""
SECRET = b"overhead"
OURS = frozenset({("/runs/{name}", "GET"), ("/metrics", "GET"), ("/nodes", "GET")})
"""Routes that only this benchmark asks."""
_SAMPLE = re.compile(
    r"archipel_(requests|request_body_bytes|response_body_bytes)_total"
    r'\{method="([A-Za-z]+)",route="([^"]*)"\} (\S+)'
)

Place = tuple[str, str]
"""(route, method)."""


@dataclass(frozen=True)
class OverheadPlan:
    """What is measured."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    updates: int = 120
    warm_up: int = 20
    """First versions of a run, left out."""
    nodes: int = 2
    staleness: int = 2
    with_weights: bool = False
    """Whether the arms' final weights are compared; at staleness 0 they must be equal."""


QUICK = OverheadPlan(seeds=(0, 1), updates=60, warm_up=10)
LARGE = OverheadPlan(seeds=(0, 1, 2), updates=10, warm_up=4)
LARGE_QUICK = OverheadPlan(seeds=(0,), updates=7, warm_up=3)


@dataclass(frozen=True)
class Arm:
    """One run, over the updates that count."""

    seed: int
    arm: str
    updates: int
    cpu_s: Mapping[str, float]
    """Part -> processor seconds."""
    requests: Mapping[str, float]
    """`METHOD route` -> how many."""
    bytes: float
    """In bodies of requests and answers, both ways."""
    weights: str | None
    """State digest of the last version."""
    load: float
    """Of the machine before the arm began."""

    @property
    def ms_per_update(self) -> float:
        """Processor milliseconds, over all parts."""
        return sum(self.cpu_s.values()) * 1000 / self.updates

    @property
    def requests_per_update(self) -> float:
        """Over all routes."""
        return sum(self.requests.values()) / self.updates


class Expense:
    """One recipe, run both ways."""

    def __init__(
        self, recipe: Recipe, plan: OverheadPlan, folder: Path, python: Path,
        environment: Mapping[str, str],
    ) -> None:  # fmt: skip
        """`python` runs the central arm; `environment` is that of every process."""
        self._recipe, self._plan, self._folder = recipe, plan, folder
        self._python, self._environment = python, environment
        self._start: Bench | None = None

    def measure(self, on_arm: Callable[[Arm], None]) -> list[Arm]:
        """Make the start once, then run both arms of every seed that the folder does not have.

        Raises:
            PeerFailed, SiteFailed: an arm did not end as it should. NotOurs: the folder holds another's steps.
        """
        torch.set_num_threads(1)
        kept, self._folder = Kept(self._folder), attempt(self._folder)
        arms: list[Arm] = []
        for turn, seed in enumerate(self._plan.seeds):
            ways = {CENTRAL: self._central, DISTRIBUTED: self._distributed}
            for arm in list(ways)[:: -1 if turn % 2 else 1]:
                run = partial(self._run, ways[arm], seed)
                arms.append(kept.value(self._asked(arm, seed), Arm, run))
                on_arm(arms[-1])
        return arms

    def _asked(self, arm: str, seed: int) -> Asked:
        """What decides an arm's figures."""
        recipe, plan = self._with_seed(self._recipe, seed), self._plan
        return {
            "part": "overhead", "arm": arm, "recipe": recipe.digest, "start": self._recipe.digest,
            "warm_up": plan.warm_up, "nodes": plan.nodes, "with_weights": plan.with_weights,
        }  # fmt: skip

    def _run(self, way: Callable[[Recipe, Path], Arm], seed: int) -> Arm:
        if self._start is None:
            self._start = prepare(self._recipe, SECRET)
            bench, start = self._start, self._folder / "start"
            write_model(start, bench.start, bench.config, bench.tokenizer)
        return way(self._with_seed(self._start.recipe, seed), self._folder / "start")

    def _with_seed(self, recipe: Recipe, seed: int) -> Recipe:
        plan = self._plan
        run = {"name": f"overhead-{seed}", "seed": seed, "versions": plan.updates}
        changed = recipe.run.model_copy(update={**run, "max_staleness": plan.staleness})
        return recipe.model_copy(update={"run": changed})

    def _central(self, recipe: Recipe, start: Path) -> Arm:
        plan, load = self._plan, os.getloadavg()[0]
        job = Job(
            recipe=recipe.canonical_bytes().decode(),
            secret=SECRET.hex(),
            start=str(start.absolute()),
            out=str((self._folder / f"central-{recipe.run.seed}").absolute()),
            updates=plan.updates,
            snapshot_every=plan.updates if plan.with_weights else 0,
            threads=1,
            variant="",
        )
        result = run_job(self._python, "archipel.bench.peers_central", job, self._environment)
        spent_s = result.points[-1][2] - result.points[plan.warm_up - 1][2]
        weights = None
        if plan.with_weights:
            weights = describe(load_file(job.snapshot(plan.updates)), plan.updates, None).state
        return Arm(
            seed=recipe.run.seed,
            arm=CENTRAL,
            updates=len(result.points) - plan.warm_up,
            cpu_s={CENTRAL: spent_s},
            requests={},
            bytes=0.0,
            weights=weights,
            load=load,
        )

    def _distributed(self, recipe: Recipe, start: Path) -> Arm:
        plan, load = self._plan, os.getloadavg()[0]
        name, folder = recipe.run.name, self._folder / f"distributed-{recipe.run.seed}"
        with Site(folder, self._environment) as site:
            self._staffed(site, recipe)
            site.open_run(recipe, start, ("update",))
            first = _wait(site, name, plan.warm_up)
            if first.version >= plan.updates:
                raise SiteFailed(f"{name} ended before it could be measured; ask for more updates")
            before = _Reading.of(site)
            _wait(site, name, plan.updates)
            after = _Reading.of(site)
            weights = None
            if plan.with_weights:
                site.fetch_weights(name, plan.updates, folder / "final")
                weights = _digest_of(folder / "final", plan.updates)
        return replace(
            after.since(before),
            seed=recipe.run.seed,
            updates=plan.updates - first.version,
            weights=weights,
            load=load,
        )

    def _staffed(self, site: Site, recipe: Recipe) -> None:
        """A lab, a trusted role that makes no evaluations, and nodes; all joined."""
        site.start_lab()
        if recipe.environment.secret is not None:
            site.keep_secret("update", recipe.environment.secret, SECRET)
        site.start_update(options=("--kinds", "update"))
        for number in range(self._plan.nodes):
            site.start_node(f"node-{number}")
        everybody = self._plan.nodes + 1
        site.wait_until(lambda: len(site.nodes()) == everybody, "everybody to join", JOIN_LIMIT_S)


@dataclass(frozen=True)
class _Reading:
    """Counters at one moment."""

    cpu_s: Mapping[str, float]
    passed: Mapping[str, Mapping[Place, float]]

    @classmethod
    def of(cls, site: Site) -> "_Reading":
        cpu_s: dict[str, float] = {}
        for name, pid in site.pids().items():
            for depth, seconds in seconds_by_depth(pid).items():
                part = _part(name, depth)
                cpu_s[part] = cpu_s.get(part, 0.0) + seconds
        passed: dict[str, dict[Place, float]] = {}
        for what, method, route, value in _SAMPLE.findall(site.get("/metrics") or ""):
            passed.setdefault(what, {})[route, method] = float(value)
        return cls(cpu_s, passed)

    def since(self, before: "_Reading") -> Arm:
        """What came to it from `before` on, without what this benchmark asked for."""
        grown = {
            what: {
                place: value - before.passed.get(what, {}).get(place, 0.0)
                for place, value in places.items()
                if place not in OURS
            }
            for what, places in self.passed.items()
        }
        moved = (*grown["request_body_bytes"].values(), *grown["response_body_bytes"].values())
        return Arm(
            seed=0,
            arm=DISTRIBUTED,
            updates=0,
            cpu_s={part: s - before.cpu_s.get(part, 0.0) for part, s in self.cpu_s.items()},
            requests={
                f"{method} {route}": count
                for (route, method), count in grown["requests"].items()
                if count
            },
            bytes=sum(moved),
            weights=None,
            load=0.0,
        )


def _part(name: str, depth: int) -> str:
    """Whose processor time it is: nodes are added up."""
    if name == LAB:
        return LAB
    who = "update" if name == "update" else "nodes"
    return f"{who}: {(AGENT, CHILD, GRADER)[min(depth, 2)]}"


def _wait(site: Site, name: str, version: int) -> RunView:
    """The run, once it has reached `version`."""
    deadline = time.monotonic() + RUN_LIMIT_S
    while (run := site.run(name)) is None or run.version < version:
        site.check_alive()
        if time.monotonic() > deadline:
            raise SiteFailed(f"{name} is not at version {version} after {RUN_LIMIT_S:.0f} s")
        time.sleep(LOOK_S)
    return run


def _digest_of(folder: Path, version: int) -> str:
    state = {name: each.detach().bfloat16() for name, each in read_model(folder).named_parameters()}
    return describe(state, version, None).state
