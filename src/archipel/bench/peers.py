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
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from archipel.bench import peers_site
from archipel.bench.central import Bench, prepare
from archipel.bench.kept import Kept, attempt
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


@dataclass(frozen=True)
class Tried:
    """A setting of one arm, and how fast it was."""

    arm: str
    setting: Setting
    per_update_s: float


Prepared = tuple[Bench, Path, bytes]
"""Judge and start of one seed, where the start lies, the environment's secret."""


class Meeting:
    """One recipe, brought to all arms."""

    def __init__(self, recipe: Recipe, plan: PeersPlan, folder: Path, tools: Tools) -> None:
        self._recipe = comparable(recipe)
        self._plan = plan
        self._folder = folder
        self._tools = tools
        self.settings = {arm: Setting(1) for arm in ARMS}

    def measure(self, on_tuned: Callable[[str, float], None], on_arm: Callable[[Arm], None]) -> list[Arm]:  # fmt: skip
        """Tune, then run every arm of every seed, as far as the folder does not have them.

        Raises:
            PeerFailed, SiteFailed: an arm did not end as it should. NotOurs: the folder holds another's steps.
        """
        torch.set_num_threads(1)
        kept, self._folder = Kept(self._folder), attempt(self._folder)
        arms: list[Arm] = []
        with confined_to(self._plan.cores) as cores:
            for turn, seed in enumerate(self._plan.seeds):
                prepared = cache(partial(self._prepare, seed))
                if not turn:
                    self._tune(kept, prepared, cores, on_tuned)
                first = turn % len(ARMS)
                for arm in (*ARMS[first:], *ARMS[:first]):
                    run = partial(self._run, arm, prepared)
                    arms.append(kept.value(self._asked(arm, seed), Arm, run))
                    on_arm(arms[-1])
        return arms

    def _asked(self, what: str, seed: int) -> dict[str, Any]:
        """What decides an arm's result."""
        plan, setting = self._plan, self.settings.get(what, Setting(1))
        return {
            "part": "peers", "arm": what, "recipe": self._with_seed(seed).digest, "cores": plan.cores,
            "nodes": plan.nodes, "tuning": plan.tuning_updates, **asdict(setting),
            "theirs": str(self._tools.theirs),
        }  # fmt: skip

    def _with_seed(self, seed: int) -> Recipe:
        plan = self._plan
        run = self._recipe.run.model_copy(
            update={"name": f"peers-{seed}", "seed": seed, "versions": plan.updates}
        )
        evaluation = self._recipe.evaluation.model_copy(update={"every": plan.judge_every})
        return self._recipe.model_copy(update={"run": run, "evaluation": evaluation})

    def _prepare(self, seed: int) -> Prepared:
        secret = b"peers %d" % seed
        bench = prepare(self._with_seed(seed), secret)
        start = self._folder / f"start-{seed}"
        write_model(start, bench.start, bench.config, bench.tokenizer)
        return bench, start, secret

    def _tune(
        self, kept: Kept, prepared: Callable[[], Prepared], cores: int,
        on_tuned: Callable[[str, float], None],
    ) -> None:  # fmt: skip
        """The fastest of few settings."""
        asked = self._asked("tuning", self._plan.seeds[0]) | {"of": cores}
        tried = kept.value(asked, list[Tried], lambda: self._tried(*prepared(), cores))
        for each in tried:
            threads, variant = each.setting.threads, each.setting.variant
            label = f"{each.arm}, {threads} threads, {variant}"
            on_tuned(label, each.per_update_s)
        for arm in dict.fromkeys(each.arm for each in tried):
            mine = [each for each in tried if each.arm == arm]
            self.settings[arm] = min(mine, key=lambda each: each.per_update_s).setting

    def _tried(self, bench: Bench, start: Path, secret: bytes, cores: int) -> list[Tried]:
        """Each setting twice, in turn."""
        tried: dict[tuple[str, Setting], float] = {}
        variants = {TRL: (PLAIN, STATIC), CENTRAL: (PLAIN,)}
        for again in range(2):
            for arm, names in variants.items():
                for setting in (Setting(n + 1, name) for n in range(cores) for name in names):
                    job = self._job(f"tune-{again}-{arm}", bench, start, secret, setting)
                    job = replace(job, updates=self._plan.tuning_updates, snapshot_every=0)
                    points = self._run_job(arm, job).points
                    spent_s = points[-1][1] - points[WARM_UP_UPDATES - 1][1]
                    per_update_s = spent_s / (len(points) - WARM_UP_UPDATES)
                    key = (arm, setting)
                    tried[key] = min(per_update_s, tried.get(key, math.inf))
        return [Tried(arm, setting, s) for (arm, setting), s in tried.items()]

    def _run(self, arm: str, prepared: Callable[[], Prepared]) -> Arm:
        bench, start, secret = prepared()
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
