"""Evaluate work (trusted role): one policy version on the held-out tasks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from archipel.engine.engine import Engine, Request
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe, recipe_from_canonical
from archipel.records.rollouts import Rollout
from archipel.records.seeds import evaluation_seed
from archipel.records.statements import EvaluateSpec, Spec
from archipel.training.environments.environment import Environment, make_environment
from archipel.training.environments.task import Task
from archipel.training.evaluation import Evaluation, evaluation_tasks, score
from archipel.training.grading import Grader, Submission
from archipel.training.groups import prompt_ids, stop_ids
from archipel.work.engines import EngineChoice, make_engine
from archipel.work.kind import Answer, Context, Progress, WorkFailed
from archipel.work.policies import Policies

SPLIT = "dev"
"""Curves are drawn on `dev`; `test` stays untouched until a run is over."""


@dataclass(frozen=True)
class Examination:
    """What an evaluation needs besides weights."""

    recipe: Recipe
    environment: Environment
    tokenizer: Tokenizer
    grader: Grader


class EvaluateKind:
    """Keeps weights and graders between works."""

    def __init__(self, choice: EngineChoice) -> None:
        self._choice = choice
        self._policies = Policies()
        self._examinations: dict[str, Examination] = {}

    def run(self, spec: Spec, context: Context, progress: Progress) -> Answer:
        """Answer: file `report`; values `policy`, `metrics`."""
        if not isinstance(spec, EvaluateSpec):
            raise WorkFailed(f"expected evaluate work, got {spec.kind}")
        policy = self._policies.advance(context, spec.policy)
        if context.run not in self._examinations:
            self._examinations[context.run] = _examination(context)
        examination = self._examinations[context.run]
        engine = make_engine(context.model, policy.state, self._choice)
        section = examination.recipe.evaluation
        tasks = evaluation_tasks(examination.environment, SPLIT, section.num_tasks)
        samples = section.samples_per_task if section.samples_per_task > 1 else 0
        result = examine(engine, examination, tasks, spec.version, samples)
        metrics = result.to_metrics()
        path = context.scratch / "report.json"
        path.write_text(json.dumps({"version": spec.version, "split": SPLIT, "metrics": metrics}))
        return Answer({"report": path}, {"policy": policy.manifest.state, "metrics": metrics})


def _examination(context: Context) -> Examination:
    if context.recipe is None:
        raise WorkFailed("evaluate work needs the recipe")
    recipe = recipe_from_canonical(context.recipe)
    section, seed = recipe.environment, recipe.run.seed
    return Examination(
        recipe,
        make_environment(section, seed, context.secret),
        Tokenizer.from_directory(context.model),
        Grader(section, seed, context.secret),
    )


def examine(
    engine: Engine, examination: Examination, tasks: Sequence[Task], version: int, num_samples: int
) -> Evaluation:
    """Answer `tasks` greedily, and `num_samples` times at the recipe's temperature; grade; score."""
    greedy = engine.generate(_requests(examination, tasks, version, 1, 0.0))
    greedy_rewards = _grade(examination, tasks, greedy)
    sampled_rewards: list[list[float]] = []
    if num_samples:
        temperature = examination.recipe.sampling.temperature
        sampled = engine.generate(_requests(examination, tasks, version, num_samples, temperature))
        sampled_rewards = _grade(examination, tasks, sampled)
    return score(
        version,
        tasks[0].split,
        [rewards[0] for rewards in greedy_rewards],
        sampled_rewards,
        seed=examination.recipe.run.seed,
    )


def _requests(
    examination: Examination, tasks: Sequence[Task], version: int, rollouts: int, temperature: float
) -> list[Request]:
    recipe, tokenizer = examination.recipe, examination.tokenizer
    return [
        Request(
            key=str(task.index),
            prompt=prompt_ids(tokenizer, task.prompt),
            seed=evaluation_seed(recipe.run.seed, version, task.index),
            num_rollouts=rollouts,
            max_new_tokens=recipe.sampling.max_new_tokens,
            temperature=temperature,
            stop_tokens=stop_ids(tokenizer),
        )
        for task in tasks
    ]


def _grade(
    examination: Examination, tasks: Sequence[Task], answers: Sequence[Sequence[Rollout]]
) -> list[list[float]]:
    tokenizer = examination.tokenizer
    shown = [
        Submission(task.split, task.index, tokenizer.decode(each.tokens), each.finished)
        for task, rollouts in zip(tasks, answers, strict=True)
        for each in rollouts
    ]
    rewards = iter(examination.grader.grade(shown))
    return [[next(rewards) for _ in rollouts] for rollouts in answers]
