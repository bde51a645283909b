"""A recipe run in this one process: what benchmarks start from and compare with.

Parts: `prepare` (supervised stage included), `Bench` with its sampler, grader and evaluation.
Environments that compare text with text grade in process: they are ours and their completions short.
Any other may evaluate what a model says, and grades where that can do no harm.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from archipel.engine.engine import LocalEngine, Request
from archipel.engine.protocol import Sampler
from archipel.model.adapter import Adapter, merged
from archipel.model.config import DecoderConfig
from archipel.model.network import Decoder
from archipel.model.tokenizer import Tokenizer, tokenizer_named
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.records.seeds import evaluation_seed
from archipel.training.curriculum import Curriculum
from archipel.training.environments.environment import Environment, make_environment
from archipel.training.episodes import Conduct, conduct_of
from archipel.training.evaluation import EXACT, evaluation_tasks
from archipel.training.grading import Grader, Submission, grader_of
from archipel.training.groups import stop_ids, submissions, task_ids
from archipel.training.rl import Rehearsal
from archipel.training.sft import Progress, supervise
from archipel.training.start import initial_model, supervised_stage
from archipel.training.wording import wording_of_recipe
from archipel.work.engines import our_engine
from archipel.work.episodes import sample
from archipel.work.grading.process import PURE
from archipel.work.seats import WithAdapter

ADAPTER = "central"


@dataclass(frozen=True)
class Skill:
    """A policy on held-out tasks."""

    greedy: float
    """Share of greedy completions that are exactly right."""
    reward: float
    """Mean reward of one completion per task, sampled at the recipe's temperature."""


@dataclass(frozen=True)
class Bench:
    """One seed of a recipe, ready to be trained by reinforcement."""

    recipe: Recipe
    environment: Environment
    tokenizer: Tokenizer
    config: DecoderConfig
    start: dict[str, Tensor]
    """Weights after the supervised stage, bfloat16."""
    engine: LocalEngine
    grader: Grader | None
    """Where the environment grades; None for in this process."""
    conduct: Conduct | None = None
    """How episodes go; None: each task takes one turn."""

    def fresh_model(self) -> Decoder:
        """A new decoder with the starting weights, fp32."""
        model = Decoder(self.config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(self.start[name])
        return model

    def rehearsal(self, recipe: Recipe | None = None) -> Rehearsal:
        """The run's loop body with this engine; `recipe` may change what concerns learning."""
        own = recipe or self.recipe
        curriculum = None if own.curriculum is None else Curriculum(own)
        bench = self
        if self.conduct is not None and curriculum is not None:
            bench = replace(self, conduct=self.conduct.choosing(curriculum.task))
        return Rehearsal(
            own,
            self.environment,
            self.tokenizer,
            bench.sample,
            self.grade,
            curriculum,
            None if self.conduct is None else self.conduct.turns,
        )

    def sample(
        self, state: Mapping[str, Tensor], requests: Sequence[Request]
    ) -> list[tuple[Rollout, ...]]:
        """Rollouts of each request under `state`."""
        return list(sample(self._seated(state), requests, self.conduct, lambda tokens: None))

    def _seated(self, state: Mapping[str, Tensor]) -> Sampler:
        """The engine with these weights, or with this adapter over those of the start."""
        if self.recipe.adapter is None:
            self.engine.load(state)
            return self.engine
        adapter = Adapter(self.recipe.adapter.form, state)
        if self.recipe.sampling.contract is not None:
            self.engine.load(merged(self.start, adapter, self.config))
            return self.engine
        self.engine.load(self.start)
        self.engine.adapt(ADAPTER, adapter)
        return WithAdapter(self.engine, ADAPTER)

    def grade(self, submissions: Sequence[Submission]) -> list[float]:
        """Rewards by the environment itself."""
        if self.grader is not None:
            return list(self.grader.grade(submissions))
        return [self._graded(each) for each in submissions]

    def _graded(self, shown: Submission) -> float:
        task = self.environment.task(shown.split, shown.index)
        if self.conduct is not None:
            return self.conduct.environment.reward(task, shown.turns, shown.finished)
        return self.environment.grade(task, shown.completion, shown.finished)

    def evaluate(self, state: Mapping[str, Tensor], version: int, split: str = "dev") -> Skill:
        """Skill on the recipe's number of held-out tasks."""
        tasks = evaluation_tasks(self.environment, split, self.recipe.evaluation.num_tasks)
        sampling = self.recipe.sampling
        requests = [
            Request(
                key=f"{task.index}",
                prompt=task_ids(self.recipe, self.environment, self.tokenizer, task),
                seed=evaluation_seed(self.recipe.run.seed, version, task.index),
                num_rollouts=1,
                max_new_tokens=sampling.max_new_tokens,
                temperature=temperature,
                stop_tokens=stop_ids(self.tokenizer),
            )
            for temperature in (0.0, sampling.temperature)
            for task in tasks
        ]
        wording = wording_of_recipe(self.recipe, self.tokenizer)
        if wording is not None:
            requests = [wording.on(each) for each in requests]
        engine = self._seated(state)
        turns_of = None if self.conduct is None else self.conduct.turns
        answers = sample(engine, requests, self.conduct, lambda tokens: None, split)
        shown = [
            each
            for task, one in zip(tasks * 2, answers, strict=True)
            for each in submissions(task.index, one, self.tokenizer, turns_of, split, wording)
        ]
        rewards = self.grade(shown)
        greedy, sampled = rewards[: len(tasks)], rewards[len(tasks) :]
        return Skill(
            greedy=sum(reward >= EXACT for reward in greedy) / len(tasks),
            reward=sum(sampled) / len(tasks),
        )


def prepare(
    recipe: Recipe, secret: bytes, on_step: Callable[[Progress], None] = lambda progress: None
) -> Bench:
    """Random weights from the recipe's seed, then its supervised stage if it has one."""
    tokenizer = tokenizer_named(recipe.model.tokenizer)
    environment = make_environment(recipe.environment, recipe.run.seed, secret)
    model = initial_model(recipe, tokenizer)
    if recipe.supervised is not None:
        supervise(model, supervised_stage(recipe, environment, tokenizer), on_step)
    start = {
        name: parameter.detach().to(torch.bfloat16) for name, parameter in model.named_parameters()
    }
    engine = our_engine(model.config, recipe.sampling.contract)
    grader = grader_for(recipe, environment, secret)
    conduct = conduct_of(recipe, environment, tokenizer)
    return Bench(recipe, environment, tokenizer, model.config, start, engine, grader, conduct)


def grader_for(recipe: Recipe, environment: Environment, secret: bytes) -> Grader | None:
    """A grader that ends with `environment`, for one that may evaluate what a model says."""
    if type(environment) in PURE:
        return None
    grader = grader_of(recipe, secret)
    weakref.finalize(environment, grader.close)
    return grader
