"""Before, after, and the controls: what did reinforcement learning really add?"""

from dataclasses import dataclass
from pathlib import Path

import torch

from archipel.engine.engine import LocalEngine
from archipel.model.directory import read_config, read_model
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.training.environments.environment import make_environment
from archipel.training.evaluation import Evaluation, evaluation_tasks
from archipel.training.grading import Grader
from archipel.work.evaluate import Examination, examine

TEST = "test"


@dataclass(frozen=True, slots=True)
class Trial:
    """How a model directory is judged."""

    num_tasks: int
    num_sampled_tasks: int = 0
    samples_per_task: int = 0
    split: str = TEST


@dataclass(frozen=True, slots=True)
class Judgement:
    """A model on the test split."""

    greedy: Evaluation
    sampled: Evaluation | None
    """pass@k on fewer tasks, many samples each; None when not asked."""


def judge(model: Path, recipe: Recipe, secret: bytes | None, trial: Trial) -> Judgement:
    """Score `model` against the environment that `secret` defines."""
    tokenizer = Tokenizer.from_directory(model)
    engine = LocalEngine(read_config(model))
    engine.load(dict(read_model(model, torch.bfloat16).named_parameters()))
    section, seed = recipe.environment, recipe.run.seed
    environment = make_environment(section, seed, secret)
    tasks = evaluation_tasks(environment, trial.split, trial.num_tasks)
    with Grader(section, seed, secret) as grader:
        examination = Examination(recipe, environment, tokenizer, grader)
        greedy = examine(engine, examination, tasks, 0, 0)
        sampled = None
        if trial.samples_per_task:
            few = tasks[: trial.num_sampled_tasks]
            sampled = examine(engine, examination, few, 0, trial.samples_per_task)
    return Judgement(greedy, sampled)


def sample_answers(
    model: Path, recipe: Recipe, secret: bytes, num_tasks: int
) -> list[tuple[str, str, float]]:
    """(prompt, greedy answer, reward) of the first test tasks."""
    from archipel.engine.engine import Request
    from archipel.training.grading import Submission
    from archipel.training.groups import prompt_ids, stop_ids

    tokenizer = Tokenizer.from_directory(model)
    engine = LocalEngine(read_config(model))
    engine.load(dict(read_model(model, torch.bfloat16).named_parameters()))
    environment = make_environment(recipe.environment, recipe.run.seed, secret)
    tasks = evaluation_tasks(environment, TEST, num_tasks)
    limit = recipe.sampling.max_new_tokens
    requests = [
        Request(
            task.prompt, prompt_ids(tokenizer, task.prompt), 0, 1, limit, 0.0, stop_ids(tokenizer)
        )
        for task in tasks
    ]
    answers = [completions[0] for completions in engine.generate(requests)]
    texts = [tokenizer.decode(answer.tokens) for answer in answers]
    with Grader(recipe.environment, recipe.run.seed, secret) as grader:
        rewards = grader.grade(
            [
                Submission(task.split, task.index, text, answer.finished)
                for task, text, answer in zip(tasks, texts, answers, strict=True)
            ]
        )
    return [(t.prompt, text, r) for t, text, r in zip(tasks, texts, rewards, strict=True)]
