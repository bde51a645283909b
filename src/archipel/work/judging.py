"""How good is a policy on held-out tasks? Sampled here, graded in a process of its own, scored with intervals.

Parts: `Examination` and `examine` (a policy in an engine), `judge` (a model directory, before and after a
run). Law: `dev` is for curves; `test` stays untouched until a run is over.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from archipel.engine.engine import Request
from archipel.engine.protocol import Sampler
from archipel.model.tokenizer import Tokenizer
from archipel.plurals import counted
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.records.seeds import evaluation_seed
from archipel.training.answers import answer_metrics
from archipel.training.environments.environment import (
    Environment,
    make_environment,
    require_gradable,
)
from archipel.training.environments.task import Task
from archipel.training.episodes import Conduct, conduct_of
from archipel.training.evaluation import Evaluation, evaluation_tasks, score
from archipel.training.grading import Grader, Submission, grader_of
from archipel.training.groups import stop_ids, submissions, task_ids
from archipel.training.wording import text_of, wording_of_recipe
from archipel.work.episodes import sample
from archipel.work.folders import Folder, folder_of
from archipel.work.kind import Progress

DEV, TEST = "dev", "test"


class NothingGraded(ValueError):
    """A measurement that did not happen; it is no zero."""


@dataclass(frozen=True)
class Examination:
    """What an evaluation needs besides weights."""

    recipe: Recipe
    environment: Environment
    tokenizer: Tokenizer
    grader: Grader
    conduct: Conduct | None
    """How episodes go; None: each task takes one turn."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How a model directory is judged."""

    num_tasks: int
    num_sampled_tasks: int = 0
    samples_per_task: int = 0
    split: str = TEST
    contract: str | None = None
    """The exact contract to answer by; None: the recipe's, if it has one."""
    device: str = "cpu"
    """Where it is answered."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A model on held-out tasks."""

    greedy: Evaluation
    sampled: Evaluation | None
    """pass@k on fewer tasks, many samples each; None when not asked."""
    faults: Mapping[str, int] = field(default_factory=dict)
    """Answers of either that could not be graded and count as 0, by cause."""
    contract: str | None = None
    """The exact contract that they were answered by; None: by floating point."""


def examination_of(recipe: Recipe, model: Path, secret: bytes | None) -> Examination:
    """The examination that a recipe defines, with the tokenizer of the directory `model`.

    Raises:
        InvalidEnvironment: the environment cannot be made.
        MissingSecret: it cannot grade without the secret.
    """
    section, seed = recipe.environment, recipe.run.seed
    require_gradable(section, secret)
    environment = make_environment(section, seed, secret)
    tokenizer = Tokenizer.from_directory(model)
    return Examination(
        recipe,
        environment,
        tokenizer,
        grader_of(recipe, secret),
        conduct_of(recipe, environment, tokenizer),
    )


def examine(
    engine: Sampler,
    examination: Examination,
    tasks: Sequence[Task],
    version: int,
    num_samples: int,
    progress: Progress = lambda tokens: None,
) -> Evaluation:
    """Answer `tasks` greedily, and `num_samples` times at the recipe's temperature; grade; score."""
    recipe = examination.recipe
    split, conduct = tasks[0].split, examination.conduct
    greedy = sample(
        engine, _requests(examination, tasks, version, 1, 0.0), conduct, progress, split
    )
    greedy_rewards = _grade(examination, tasks, greedy)
    sampled_rewards: list[list[float]] = []
    if num_samples:
        before = sum(each.num_sampled for (each,) in greedy)
        requests = _requests(examination, tasks, version, num_samples, recipe.sampling.temperature)
        sampled = sample(engine, requests, conduct, lambda tokens: progress(before + tokens), split)
        sampled_rewards = _grade(examination, tasks, sampled)
    marks = score(
        version,
        split,
        [rewards[0] for rewards in greedy_rewards],
        sampled_rewards,
        seed=recipe.run.seed,
    )
    return replace(marks, answers=_answered(examination, tasks, greedy))


def examine_version(
    engine: Sampler,
    examination: Examination,
    version: int,
    progress: Progress = lambda tokens: None,
) -> Evaluation:
    """One version of a run as its recipe's [evaluation] says, on the tasks for curves."""
    section = examination.recipe.evaluation
    samples = section.samples_per_task if section.samples_per_task > 1 else 0
    tasks = evaluation_tasks(examination.environment, DEV, section.num_tasks)
    return examine(engine, examination, tasks, version, samples, progress)


def _unsaid(_: str) -> None:
    """Nobody listens."""


def judge(
    model: Path,
    recipe: Recipe,
    secret: bytes | None,
    trial: Trial,
    on_part: Callable[[str], None] = _unsaid,
    base: Path | None = None,
) -> Judgement:
    """Score the directory `model` against the environment that `secret` defines.

    on_part: is told what comes next. base: what lies under an adapter (see `folder_of`).

    Raises:
        NothingGraded: not one answer could be graded, so there is no score.
    """
    contract = trial.contract or recipe.sampling.contract
    folder = folder_of(model, base, trial.device)
    with _seated(folder, recipe, secret, contract) as (engine, examination):
        tasks = evaluation_tasks(examination.environment, trial.split, trial.num_tasks)
        on_part(f"answering {counted(len(tasks), f'{trial.split} task')}")
        greedy = examine(engine, examination, tasks, 0, 0)
        _require_some_graded(examination, len(tasks))
        sampled = None
        if trial.samples_per_task:
            few = tasks[: trial.num_sampled_tasks]
            on_part(f"answering {len(few)} of them {counted(trial.samples_per_task, 'time')} each")
            sampled = examine(engine, examination, few, 0, trial.samples_per_task)
        return Judgement(greedy, sampled, dict(examination.grader.faults), contract)


def _require_some_graded(examination: Examination, num_answers: int) -> None:
    faults = examination.grader.faults
    if faults.total() >= num_answers:
        causes = ", ".join(f"{cause}: {count}" for cause, count in faults.most_common())
        raise NothingGraded(
            f"none of {num_answers} answers could be graded ({causes}), so there is no score; "
            "the log says what the first one met"
        )


def sample_answers(
    model: Path, recipe: Recipe, secret: bytes, num_tasks: int
) -> list[tuple[str, str, float]]:
    """(prompt, greedy answer, reward) of the first test tasks."""
    with _seated(folder_of(model), recipe, secret, recipe.sampling.contract) as (
        engine,
        examination,
    ):
        tasks = evaluation_tasks(examination.environment, TEST, num_tasks)
        requests = _requests(examination, tasks, 0, 1, 0.0)
        answers = sample(engine, requests, examination.conduct, lambda tokens: None, TEST)
        rewards = _grade(examination, tasks, answers)
        wording = wording_of_recipe(recipe, examination.tokenizer)
        return [
            (task.prompt, text_of(examination.tokenizer, answer, wording), reward)
            for task, (answer,), (reward,) in zip(tasks, answers, rewards, strict=True)
        ]


@contextmanager
def _seated(
    folder: Folder, recipe: Recipe, secret: bytes | None, contract: str | None
) -> Iterator[tuple[Sampler, Examination]]:
    """A model directory ready to be examined, until the block ends."""
    engine = folder.seated(contract, torch.bfloat16)
    examination = examination_of(recipe, folder.model, secret)
    with examination.grader:
        yield engine, examination


def _requests(
    examination: Examination, tasks: Sequence[Task], version: int, rollouts: int, temperature: float
) -> list[Request]:
    recipe, tokenizer = examination.recipe, examination.tokenizer
    wording = wording_of_recipe(recipe, tokenizer)
    requests = [
        Request(
            key=str(task.index),
            prompt=task_ids(recipe, examination.environment, tokenizer, task),
            seed=evaluation_seed(recipe.run.seed, version, task.index),
            num_rollouts=rollouts,
            max_new_tokens=recipe.sampling.max_new_tokens,
            temperature=temperature,
            stop_tokens=stop_ids(tokenizer),
            cut=recipe.sampling.cut if temperature else None,
        )
        for task in tasks
    ]
    return requests if wording is None else [wording.on(each) for each in requests]


def _grade(
    examination: Examination, tasks: Sequence[Task], answers: Sequence[Sequence[Rollout]]
) -> list[list[float]]:
    shown = _shown(examination, tasks, answers)
    rewards = iter(examination.grader.grade(shown))
    return [[next(rewards) for _ in completions] for completions in answers]


def _answered(
    examination: Examination, tasks: Sequence[Task], answers: Sequence[Sequence[Rollout]]
) -> dict[str, int]:
    """The majority baseline; gradings that it takes count in no fault of the examination."""
    grader, faults = examination.grader, examination.grader.faults.copy()
    metrics = answer_metrics(_shown(examination, tasks, answers), grader.grade, worth_asking=0.0)
    grader.faults = faults
    return metrics


def _shown(
    examination: Examination, tasks: Sequence[Task], answers: Sequence[Sequence[Rollout]]
) -> list[Submission]:
    tokenizer, conduct = examination.tokenizer, examination.conduct
    turns_of = None if conduct is None else conduct.turns
    wording = wording_of_recipe(examination.recipe, tokenizer)
    return [
        each
        for task, completions in zip(tasks, answers, strict=True)
        for each in submissions(task.index, completions, tokenizer, turns_of, task.split, wording)
    ]
