"""One arm of `families`: labels, rewards or more labels, from a model directory to another, and what came of it.

Parts: `by_labels`, `by_rewards`, `more_labels`, `examined`. Supervision is what `archipel sft` does, an examination what
`archipel eval` does, reinforcement the central loop with what a version of a run measures.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from archipel.bench.processor import tree_seconds
from archipel.curves.history import History, Point, exams_of, plain, plain_exam
from archipel.curves.spells import spells_of
from archipel.engine.engine import LocalEngine
from archipel.model.directory import read_model, write_model
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.training.answers import answer_metrics
from archipel.training.curriculum import Curriculum
from archipel.training.environments.environment import make_environment
from archipel.training.grading import Submission, grader_of
from archipel.training.report import UpdateReport
from archipel.training.rl import Rehearsal, reinforce
from archipel.training.sft import Progress
from archipel.training.start import Way, start_model
from archipel.training.trainer import Trainer
from archipel.work.judging import Examination, Trial, examine_version, judge
from archipel.work.measured import measured

LATE = 10
"""Updates whose means stand for the end of a run, and for its beginning."""
LOOKED_AT = (
    "reward",
    "entropy",
    "distinct_answers",
    "commonest_answer",
    "constant_reward",
    "zero_advantage_fraction",
    "cut_fraction",
    "held_back_fraction",
)


@dataclass(frozen=True)
class Learned:
    """How an arm went."""

    steps: int
    """Optimiser steps of supervision, or updates."""
    processor_s: float
    """Of this process and those below it, while learning."""
    sequences: int
    """Labelled examples that were shown, or rollouts that were rewarded."""
    first: dict[str, float] = field(default_factory=dict)
    """Means over the first updates of a run, of `LOOKED_AT`."""
    last: dict[str, float] = field(default_factory=dict)
    """And over its last."""
    alarms: dict[str, list[Any]] = field(default_factory=dict)
    """Kind -> first version at which it was told, the last, and its first words."""


@dataclass(frozen=True)
class Examined:
    """A model on the test part."""

    num_tasks: int
    greedy: list[float]
    """Share that is right, and its 95% interval."""
    pass_at: dict[str, list[float]]
    """k -> pass@k and its interval, at the recipe's temperature."""
    greedy_reward: float
    """Mean reward, partial credit included."""
    majority: float
    """Mean reward of the commonest greedy answer, given to every task."""
    commonest: float
    """Its share of the answers."""
    distinct: int


def by_labels(recipe: Recipe, out: Path, start: Path | None = None, first: int = 0) -> Learned:
    """The recipe's supervised stage, from random weights or from `start` and this example on."""
    clock, spent = _Clock(), [0.0]

    def on_step(progress: Progress) -> None:
        spent.append(clock.spent_s)

    progress = start_model(recipe, out, on_step, None, start, Way(first_example=first))
    size = 0 if recipe.supervised is None else recipe.supervised.batch_size
    return Learned(progress.step, spent[-1], progress.step * size)


def more_labels(
    recipe: Recipe, start: Path, out: Path, before: Learned, budget_s: float
) -> Learned:
    """The same supervision from where it ended, on examples not shown yet, for about `budget_s` of processor time."""
    section = recipe.supervised
    if section is None:
        raise ValueError("the recipe has no [supervised] section")
    steps = max(1, round(before.steps * budget_s / before.processor_s))
    settling = min(section.decay_steps, steps // 2)
    longer = section.model_copy(
        update={"steps": max(1, steps - settling), "decay_steps": settling, "gate": None}
    )
    recipe = recipe.model_copy(update={"supervised": longer})
    return by_labels(recipe, out, start, before.steps * section.batch_size)


def by_rewards(recipe: Recipe, start: Path, out: Path) -> Learned:
    """The recipe's run in one process, with alarms and evaluations as a watcher sees them."""
    tokenizer, model = Tokenizer.from_directory(start), read_model(start)
    environment = make_environment(recipe.environment, recipe.run.seed, None)
    with grader_of(recipe, None) as grader:
        examination = Examination(recipe, environment, tokenizer, grader, None)
        engine, trainer = LocalEngine(model.config), Trainer(model, recipe)
        watched = _Watched(recipe, examination, engine, trainer)
        curriculum = None if recipe.curriculum is None else Curriculum(recipe)
        rehearsal = Rehearsal(
            recipe, environment, tokenizer, watched.sample, watched.grade, curriculum
        )
        clock = _Clock()
        reinforce(trainer, rehearsal, watched.updated)
        spent_s = clock.spent_s - watched.examining_s
    write_model(out, trainer.published_state(), model.config, tokenizer)
    return watched.learned(spent_s)


def examined(model: Path, recipe: Recipe, num_tasks: int, samples: int) -> Examined:
    """As `archipel eval --split test` with as many tasks as there are, at most `num_tasks`."""
    marks = judge(model, recipe, None, Trial(num_tasks, num_tasks, samples))
    many = marks.sampled or marks.greedy
    answers = plain_exam(dict(marks.greedy.answers))
    return Examined(
        num_tasks=marks.greedy.num_tasks,
        greedy=[marks.greedy.greedy.value, marks.greedy.greedy.low, marks.greedy.greedy.high],
        pass_at={str(k): [each.value, each.low, each.high] for k, each in many.pass_at.items()},
        greedy_reward=marks.greedy.greedy_reward,
        majority=answers.get("constant_reward", 0.0),
        commonest=answers.get("commonest_answer", 0.0),
        distinct=round(answers.get("distinct_answers", 0)),
    )


class _Clock:
    """Processor time of this process and those below it."""

    def __init__(self) -> None:
        self._from = self._now()

    @property
    def spent_s(self) -> float:
        return self._now() - self._from

    @staticmethod
    def _now() -> float:
        below = tree_seconds()
        return time.process_time() + (below if below == below else 0.0)


class _Watched:
    """A run whose measurements somebody looks at after every update."""

    def __init__(
        self, recipe: Recipe, examination: Examination, engine: LocalEngine, trainer: Trainer
    ) -> None:
        self._recipe, self._examination = recipe, examination
        self._engine, self._trainer = engine, trainer
        self._shown: Sequence[Submission] = ()
        self._points, self._exams = [Point(0, 0.0, {})], [self._exam(0)]
        self.examining_s = 0.0

    def sample(self, state: Any, requests: Any) -> Any:
        self._engine.load(state)
        return self._engine.generate(requests)

    def grade(self, shown: Sequence[Submission]) -> Sequence[float]:
        self._shown = shown
        return self._examination.grader.grade(shown)

    def updated(self, report: UpdateReport) -> None:
        metrics = measured(report) | answer_metrics(self._shown, self._examination.grader.grade)
        self._points.append(Point(report.version, 0.0, plain(metrics)))
        if report.version % self._recipe.evaluation.every == 0:
            clock = _Clock()
            self._exams.append(self._exam(report.version))
            self.examining_s += clock.spent_s

    def learned(self, spent_s: float) -> Learned:
        points = self._points[1:]
        first, last = (_means(part) for part in (points[:LATE], points[-LATE:]))
        run, bounds = self._recipe.run, self._recipe.alarms
        history = History(
            run.name, run.versions, tuple(self._points), exams_of(self._exams), bounds
        )
        told = {each.kind: [each.first, each.last, each.text] for each in spells_of(history)}
        rollouts = len(points) * run.groups_per_update * run.group_size
        return Learned(len(points), spent_s, rollouts, first, last, told)

    def _exam(self, version: int) -> dict[str, int]:
        self._engine.load(self._trainer.published_state())
        marks = examine_version(self._engine, self._examination, version)
        return {"version": version, **marks.to_metrics()}


def _means(points: Sequence[Point]) -> dict[str, float]:
    """Of what was measured at all of them; shares instead of counts."""
    rows = []
    for point in points:
        values = dict(point.values)
        values["zero_advantage_fraction"] = values["zero_advantage_groups"] / values["groups"]
        values["cut_fraction"] = 1.0 - values["finished_fraction"]
        rows.append(values)
    named = [name for name in LOOKED_AT if all(name in values for values in rows)]
    return {name: fmean(values[name] for values in rows) for name in named}
