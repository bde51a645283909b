"""The same model, task, samples and judge with TRL's GRPOTrainer: which is done first, and how good?

Three arms per seed, in turn on the same two cores, in an order that changes with the seed: TRL in its
own environment, ours centralised, ours distributed (lab, update process and nodes). Same starting
weights, prompts, group size, updates, loss (clipped) and hyper-parameters; every arm's weights are judged by one
engine on the same held-out tasks, outside the clock.
What it does not show: anything about GPUs or large models; one tiny model on one task.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from archipel.bench import peers_site
from archipel.bench.central import Bench, prepare
from archipel.bench.peers_job import Job, Result, run_job
from archipel.bench.peers_trl import PLAIN, STATIC, comparable
from archipel.bench.processor import confined_to
from archipel.model.directory import write_model
from archipel.records.recipe import Recipe

TRL, CENTRAL, DISTRIBUTED = "TRL", "central", "distributed"
ARMS = (TRL, CENTRAL, DISTRIBUTED)
MODULES = {TRL: "archipel.bench.peers_trl", CENTRAL: "archipel.bench.peers_central"}
WARM_UP_UPDATES = 3
"""Of a tuning run, left out of its time per update."""


@dataclass(frozen=True)
class PeersPlan:
    """What is measured."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    updates: int = 80
    judge_every: int = 5
    target: float = 0.9
    """Held-out greedy accuracy whose time is asked for."""
    cores: int = 2
    nodes: int = 2
    tuning_updates: int = 15
    """Length of the runs that choose threads and sampling for the two single-process arms."""


QUICK = PeersPlan(seeds=(0, 1), updates=40, judge_every=5, target=0.5, tuning_updates=8)


@dataclass(frozen=True)
class Tools:
    """Interpreters and the environment of every process that is started."""

    ours: Path
    theirs: Path
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Setting:
    """How a single-process arm runs."""

    threads: int
    variant: str = PLAIN


@dataclass(frozen=True)
class Judged:
    """An arm's weights after some updates."""

    update: int
    seconds: float
    """Of training, until then."""
    greedy: float
    reward: float


@dataclass(frozen=True)
class Arm:
    """One training run."""

    seed: int
    arm: str
    setting: Setting
    result: Result
    judged: tuple[Judged, ...]
    """Update 0 first."""
    load: float
    """Mean number of runnable processes on the machine in the minute before: 0 when it is ours alone."""

    @property
    def train_s(self) -> float:
        """Wall-clock of all updates."""
        return self.result.points[-1][1]

    @property
    def cpu_s(self) -> float:
        """Processor seconds of all updates, over all processes."""
        return self.result.points[-1][2]

    def seconds_to(self, accuracy: float) -> float | None:
        """Training time at the first judgement at or above `accuracy`."""
        return next((each.seconds for each in self.judged if each.greedy >= accuracy), None)


class Meeting:
    """One recipe, brought to all arms."""

    def __init__(self, recipe: Recipe, plan: PeersPlan, folder: Path, tools: Tools) -> None:
        self._recipe = comparable(recipe)
        self._plan = plan
        self._folder = folder
        self._tools = tools
        self.settings = {arm: Setting(1) for arm in ARMS}
        self.tuned: dict[str, float] = {}
        """Seconds per update of every setting that was tried."""

    def measure(self, on_tuned: Callable[[str, float], None], on_arm: Callable[[Arm], None]) -> list[Arm]:  # fmt: skip
        """Tune, then run every arm of every seed.

        Raises:
            PeerFailed, SiteFailed: an arm did not end as it should.
        """
        torch.set_num_threads(1)
        arms: list[Arm] = []
        with confined_to(self._plan.cores) as cores:
            for turn, seed in enumerate(self._plan.seeds):
                bench, start, secret = self._prepare(seed)
                if not turn:
                    self._tune(bench, start, secret, cores, on_tuned)
                first = turn % len(ARMS)
                for arm in (*ARMS[first:], *ARMS[:first]):
                    arms.append(self._run(arm, bench, start, secret))
                    on_arm(arms[-1])
        return arms

    def _prepare(self, seed: int) -> tuple[Bench, Path, bytes]:
        secret, plan = b"peers %d" % seed, self._plan
        run = self._recipe.run.model_copy(
            update={"name": f"peers-{seed}", "seed": seed, "versions": plan.updates}
        )
        evaluation = self._recipe.evaluation.model_copy(update={"every": plan.judge_every})
        recipe = self._recipe.model_copy(update={"run": run, "evaluation": evaluation})
        bench = prepare(recipe, secret)
        start = self._folder / f"start-{seed}"
        write_model(start, bench.start, bench.config, bench.tokenizer)
        return bench, start, secret

    def _tune(
        self, bench: Bench, start: Path, secret: bytes, cores: int,
        on_tuned: Callable[[str, float], None],
    ) -> None:  # fmt: skip
        """The fastest of few settings, each tried twice, in turn."""
        tried: dict[tuple[str, Setting], float] = {}
        variants = {TRL: (PLAIN, STATIC), CENTRAL: (PLAIN,)}
        for attempt in range(2):
            for arm, names in variants.items():
                for setting in (Setting(n + 1, name) for n in range(cores) for name in names):
                    job = self._job(f"tune-{attempt}-{arm}", bench, start, secret, setting)
                    job = replace(job, updates=self._plan.tuning_updates, snapshot_every=0)
                    points = self._run_job(arm, job).points
                    spent_s = points[-1][1] - points[WARM_UP_UPDATES - 1][1]
                    per_update_s = spent_s / (len(points) - WARM_UP_UPDATES)
                    key = (arm, setting)
                    tried[key] = min(per_update_s, tried.get(key, math.inf))
        for (arm, setting), per_update_s in tried.items():
            label = f"{arm}, {setting.threads} threads, {setting.variant}"
            self.tuned[label] = per_update_s
            on_tuned(label, per_update_s)
        for arm in variants:
            mine = {setting: s for (who, setting), s in tried.items() if who == arm}
            self.settings[arm] = min(mine, key=lambda setting: mine[setting])

    def _run(self, arm: str, bench: Bench, start: Path, secret: bytes) -> Arm:
        load, setting = os.getloadavg()[0], self.settings[arm]
        folder = self._folder / f"{arm}-{bench.recipe.run.seed}"
        if arm == DISTRIBUTED:
            result, states = peers_site.train(
                bench.recipe, secret, start, folder, self._tools.environment, self._plan.nodes
            )
        else:
            job = self._job(folder.name, bench, start, secret, setting)
            result = self._run_job(arm, job)
            states = {
                update: load_file(job.snapshot(update))
                for update, _, _ in result.points
                if update % self._plan.judge_every == 0
            }
        judged = judge(bench, result, states)
        return Arm(bench.recipe.run.seed, arm, setting, result, judged, load)

    def _job(self, name: str, bench: Bench, start: Path, secret: bytes, setting: Setting) -> Job:
        return Job(
            recipe=bench.recipe.canonical_bytes().decode(),
            secret=secret.hex(),
            start=str(start.absolute()),
            out=str((self._folder / f"{name}-{setting.threads}-{setting.variant}").absolute()),
            updates=self._plan.updates,
            snapshot_every=self._plan.judge_every,
            threads=setting.threads,
            variant=setting.variant,
        )

    def _run_job(self, arm: str, job: Job) -> Result:
        python = self._tools.theirs if arm == TRL else self._tools.ours
        return run_job(python, MODULES[arm], job, self._tools.environment)


def judge(
    bench: Bench, result: Result, states: Mapping[int, Mapping[str, Tensor]]
) -> tuple[Judged, ...]:
    """Skill at the start and at every snapshot, by the same engine, tasks and noise for every arm."""
    seconds = {update: wall_s for update, wall_s, _ in result.points} | {0: 0.0}
    judged = []
    for update, state in sorted({0: bench.start, **states}.items()):
        skill = bench.evaluate(state, update)
        judged.append(Judged(update, seconds[update], skill.greedy, skill.reward))
    return tuple(judged)
