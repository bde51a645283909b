"""A real pretrained model made better by rewards alone: seeds, tasks, a plain loop beside it, and arms that look
for what lies behind the plateau.

Each arm is one process (`real_central`, `real_plain`); weights are judged outside the clock, by one engine, on the
test part of the task. Where a run over strangers' machines is meant, `archipel demo --real` is the measurement.
What it does not show: anything about GPUs or larger models.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from archipel.bench import real_central, real_plain
from archipel.bench.central import Bench
from archipel.bench.peers_job import Job, Result, run_job
from archipel.bench.real_tasks import TASKS, write_questions
from archipel.engine.engine import LocalEngine
from archipel.model.directory import read_config, read_model
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import AdapterSection, Recipe
from archipel.training.environments.environment import make_environment
from archipel.training.evaluation import wilson_interval

OURS, PLAIN, CHANCE, LORA, CLIP_HIGHER, ENTROPY, MORE_TASKS = (
    "ours",
    "plain loop",
    "rewards by chance",
    "lora",
    "clip-higher",
    "entropy",
    "more tasks",
)
TEST = "test"
ENTROPY_BONUS = 0.01
HIGHER_CLIP = 0.6
"""Upper bound of the ratio's excess where likelier tokens may grow faster."""


@dataclass(frozen=True)
class Way:
    """How one arm trains."""

    module: str
    variant: str = real_central.EARNED
    changes: Mapping[str, Mapping[str, Any] | AdapterSection] | None = None
    """Section of the recipe -> what differs there; one that it lacks as a whole."""
    mixes: bool = False
    """Whether every task is trained on, and the one at hand is judged."""


WAYS = {
    OURS: Way(real_central.__name__),
    PLAIN: Way(real_plain.__name__),
    CHANCE: Way(real_central.__name__, real_central.DRAWN),
    LORA: Way(
        real_central.__name__,
        changes={
            "adapter": AdapterSection(rank=16, alpha=32.0),
            "optimiser": {"learning_rate": 3e-4},
        },
    ),
    ENTROPY: Way(real_central.__name__, changes={"loss": {"entropy_bonus": ENTROPY_BONUS}}),
    CLIP_HIGHER: Way(real_central.__name__, changes={"loss": {"clip_high": HIGHER_CLIP}}),
    MORE_TASKS: Way(real_central.__name__, mixes=True),
}
"""An arm is one line; whatever a recipe can say goes into `changes`."""


def as_trained(recipe: Recipe, arm: str) -> Recipe:
    """The recipe with what an arm changes in it."""
    changed = {
        section: values
        if isinstance(values, AdapterSection)
        else getattr(recipe, section).model_copy(update=dict(values))
        for section, values in (WAYS[arm].changes or {}).items()
    }
    return recipe.model_copy(update=changed)


@dataclass(frozen=True)
class RealBenchPlan:
    """What is measured."""

    seeds: tuple[int, ...] = (0, 1, 2)
    tasks: tuple[str, ...] = ("sums", "differences")
    arms: tuple[str, ...] = tuple(WAYS)
    updates: int = 40
    judge_every: int = 10
    num_test_tasks: int = 200
    threads: int = 1


QUICK = RealBenchPlan(
    seeds=(0,), tasks=("sums",), arms=(OURS, PLAIN), updates=4, judge_every=2, num_test_tasks=32
)


@dataclass(frozen=True)
class Judged:
    """Weights after some updates, on held-out tasks."""

    update: int
    seconds: float
    """Of training, by the clock, until then."""
    cpu_s: float
    right: int
    num_tasks: int

    @property
    def greedy(self) -> tuple[float, float, float]:
        """Share right, and its 95% interval."""
        return (self.right / self.num_tasks, *wilson_interval(self.right, self.num_tasks))


@dataclass(frozen=True)
class RealArm:
    """One training run."""

    task: str
    seed: int
    arm: str
    result: Result
    judged: tuple[Judged, ...]
    """Update 0 first."""
    load: float
    """Mean number of runnable processes on the machine in the minute before: 0 when it is ours alone."""


class RealBench:
    """One model and recipe, for every arm."""

    def __init__(
        self, recipe: Recipe, start: Path, plan: RealBenchPlan, folder: Path, tools: "Tools"
    ) -> None:
        self._recipe, self._start, self._plan = recipe, start, plan
        self._folder, self._tools = folder, tools

    def measure(self, on_arm: Callable[[RealArm], None]) -> list[RealArm]:
        """Run every arm of every task and seed, those of a seed after each other, in an order that turns.

        Raises:
            PeerFailed: an arm did not end as it should.
        """
        arms: list[RealArm] = []
        self._folder.mkdir(parents=True, exist_ok=True)
        for task in self._plan.tasks:
            before: Judged | None = None
            for turn, seed in enumerate(self._plan.seeds):
                first = turn % len(self._plan.arms)
                for arm in (*self._plan.arms[first:], *self._plan.arms[:first]):
                    arms.append(self._run(task, seed, arm, before))
                    before = arms[-1].judged[0]
                    on_arm(arms[-1])
        return arms

    def recipe_of(self, task: str, seed: int, arm: str) -> Recipe:
        """What one arm trains."""
        way, recipe = WAYS[arm], as_trained(self._recipe, arm)
        run = recipe.run.model_copy(update={"seed": seed, "versions": self._plan.updates})
        names = tuple(TASKS) if way.mixes else (task,)
        return self._asking(recipe.model_copy(update={"run": run}), names)

    def _asking(self, recipe: Recipe, tasks: tuple[str, ...]) -> Recipe:
        path = self._folder.absolute() / f"{'+'.join(tasks)}.jsonl"
        path.write_text("")
        for name in tasks:
            part = path.with_suffix(".part")
            write_questions(TASKS[name], part)
            with path.open("a", encoding="utf-8") as file:
                file.write(part.read_text("utf-8"))
            part.unlink()
        parameters = recipe.environment.parameters | {"path": str(path)}
        section = recipe.environment.model_copy(update={"parameters": parameters})
        return recipe.model_copy(update={"environment": section})

    def _run(self, task: str, seed: int, arm: str, before: Judged | None) -> RealArm:
        load, recipe, way = os.getloadavg()[0], self.recipe_of(task, seed, arm), WAYS[arm]
        job = Job(
            recipe=recipe.canonical_bytes().decode(),
            secret="",
            start=str(self._start.absolute()),
            out=str(self._folder.absolute() / f"{task}-{seed}-{arm.replace(' ', '-')}"),
            updates=self._plan.updates,
            snapshot_every=self._plan.judge_every,
            threads=self._plan.threads,
            variant=way.variant,
        )
        result = run_job(self._tools.python, way.module, job, self._tools.environment)
        asked = self._asking(recipe, (task,))
        return RealArm(task, seed, arm, result, self._judge(asked, job, result, before), load)

    def _judge(
        self, recipe: Recipe, job: Job, result: Result, before: Judged | None
    ) -> tuple[Judged, ...]:
        """At the start (once for a task) and at every snapshot, which is then removed."""
        bench = self._bench(recipe)
        if before is None:
            whole = replace(bench, recipe=bench.recipe.model_copy(update={"adapter": None}))
            before = self._judged(whole, bench.start, 0, 0.0, 0.0)
        rows = [before]
        for update, wall_s, cpu_s in result.points:
            if (path := job.snapshot(update)).is_file():
                rows.append(self._judged(bench, load_file(path), update, wall_s, cpu_s))
                path.unlink()
        return tuple(rows)

    def _bench(self, recipe: Recipe) -> Bench:
        torch.set_num_threads(self._plan.threads)
        evaluation = recipe.evaluation.model_copy(update={"num_tasks": self._plan.num_test_tasks})
        recipe = recipe.model_copy(update={"evaluation": evaluation})
        environment = make_environment(recipe.environment, 0, None)  # the same tasks for every seed
        model = read_model(self._start, torch.bfloat16)
        start = {name: each.detach() for name, each in model.named_parameters()}
        engine = LocalEngine(model.config, dtype=torch.bfloat16)
        tokenizer = Tokenizer.from_directory(self._start)
        config = read_config(self._start)
        return Bench(recipe, environment, tokenizer, config, start, engine, None)

    def _judged(
        self, bench: Bench, state: Mapping[str, Tensor], update: int, wall_s: float, cpu_s: float
    ) -> Judged:
        count = self._plan.num_test_tasks
        skill = bench.evaluate(state, update, TEST)
        return Judged(update, wall_s, cpu_s, round(skill.greedy * count), count)


@dataclass(frozen=True)
class Tools:
    """Interpreter and environment of every process that is started."""

    python: Path
    environment: Mapping[str, str]
