"""Specialists and a router against one generalist, with as many training steps and as much serving.

A base learns a little of every kind of question. From there, each specialist is an adapter trained on one kind; the generalist is an adapter of
the same form, trained on all kinds for as many steps as all specialists together. Each question is answered through the base and one adapter
either way. The router has seen training questions of each specialist alone; one kind has none, and should fall to the base. What it does not show: large
models, or topics that look alike.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from archipel.bench.cascade_tasks import KINDS, OTHER, questions, write_questions
from archipel.bench.cascade_ways import Interval, interval
from archipel.engine.engine import LocalEngine, Request
from archipel.model.directory import read_config, read_model
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.serve.cascade.heads import Floats
from archipel.serve.router.routes import topics_of, trained
from archipel.serve.router.topics import choose
from archipel.training.environments.environment import make_environment
from archipel.training.environments.task import Task
from archipel.training.sft import Progress
from archipel.training.start import start_adapter, start_model
from archipel.work.folders import adapter_over, weights_of

BASE, GENERALIST, ALL = "base", "generalist", "all"
MAX_NEW_TOKENS = 24


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    seed: int = 0
    width: int = 96
    layers: int = 3
    base_steps: int = 400
    steps: int = 300
    """Of each specialist; the generalist has as many as all of them."""
    rank: int = 16
    learning_rate: float = 3e-3
    questions: int = 30_000
    examples: int = 200
    """Training questions of each specialist that the router is shown."""
    held_out: int = 1000
    resamples: int = 1000


QUICK = Plan(width=64, layers=2, base_steps=150, steps=60, questions=6000, examples=60, held_out=200, resamples=200)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One kind of question."""

    kind: str
    num: int
    base: float
    generalist: float
    specialist: float
    """Of this kind; the base, where there is none."""
    router: float
    routed_right: float
    """Share that went to the kind's own specialist; to the base, where there is none."""


@dataclass(frozen=True)
class Found:
    """What came out."""

    base: Interval
    generalist: Interval
    router: Interval
    topics: Interval
    """Of whoever knows the kind of each question."""
    oracle: Interval
    """Of whoever knows which of base and specialists will be right."""
    regret: Interval
    """(topics - router) / topics."""
    oracle_regret: Interval
    """(oracle - router) / oracle."""
    gain: Interval
    """router - generalist."""
    lines: tuple[Line, ...]


class Measurement:
    """In a folder of its own, where models stay, so that whoever starts it again goes on."""

    def __init__(
        self, recipe: Recipe, plan: Plan, folder: Path, tell: Callable[[str], None]
    ) -> None:
        """recipe: of the supervised stage; its model and environment are replaced."""
        self._recipe, self._plan, self._tell = recipe, plan, tell
        self._folder = folder.absolute()

    def measure(self) -> Found:
        """All of it."""
        torch.set_num_threads(1)
        self._folder.mkdir(parents=True, exist_ok=True)
        every = (*KINDS, *OTHER)
        kind_of: dict[str, str] = {}
        files = {ALL: every} | {kind: (kind,) for kind in KINDS}
        for data, kinds in files.items():
            rows = questions(kinds, self._plan.questions, self._plan.seed)
            write_questions(self._folder / f"{data}.jsonl", rows)
            kind_of |= {question: kind for kind, question, _ in rows}
        self._made(BASE, ALL, self._plan.base_steps)
        for kind in KINDS:
            self._made(kind, kind, self._plan.steps)
        self._made(GENERALIST, ALL, self._plan.steps * len(KINDS))
        engine, tokenizer = self._engine()
        environment = make_environment(self._recipe_of(ALL, 1).environment, self._plan.seed, None)
        tasks = [environment.task("test", index) for index in range(self._plan.held_out)]
        right = {}
        for name in (None, GENERALIST, *KINDS):
            self._tell(f"{self._plan.held_out} questions by {name or BASE}")
            said = self._answers(engine, tokenizer, tasks, name)
            right[name or BASE] = np.array(
                [environment.grade(task, *each) for task, each in zip(tasks, said, strict=True)]
            )
        routed = self._routed(engine, tokenizer, tasks)
        asked = [kind_of[task.prompt] for task in tasks]
        return _found(right, routed, asked, self._plan.resamples)

    def _made(self, name: str, data: str, steps: int) -> None:
        """A model directory or an adapter's, trained now unless it is there."""
        out, partial = self._folder / name, self._folder / f"{name}.partial"
        if out.exists():
            return

        def on_step(progress: Progress) -> None:
            if progress.step % 50 == 0:
                loss = progress.smoothed_loss or progress.loss
                self._tell(f"{name}: step {progress.step}, loss {loss:.3f}")

        recipe = self._recipe_of(data, steps)
        if name == BASE:
            start_model(recipe, out, on_step, partial)
        else:
            start_adapter(recipe, out, self._folder / BASE, on_step, partial)
        shutil.rmtree(partial, ignore_errors=True)

    def _recipe_of(self, data: str, steps: int) -> Recipe:
        plan, base = self._plan, self._recipe.model_dump()
        base["run"] |= {"seed": plan.seed}
        path = str(self._folder / f"{data}.jsonl")
        parameters = {"path": path, "template": "{question}", "answer_kind": "text"}
        base["environment"] = {"name": "jsonl", "parameters": parameters}
        base["model"] |= {
            "hidden_size": plan.width,
            "num_layers": plan.layers,
            "intermediate_size": plan.width * 11 // 4 // 8 * 8,
            "max_position_embeddings": 96,
        }
        base["adapter"] = {"rank": plan.rank, "alpha": 2.0 * plan.rank}
        base["supervised"] |= {
            "steps": steps,
            "batch_size": 32,
            "learning_rate": plan.learning_rate,
            "decay_steps": max(1, steps // 4),
        }
        return Recipe.model_validate(base)

    def _engine(self) -> tuple[LocalEngine, Tokenizer]:
        place = self._folder / BASE
        engine = LocalEngine(read_config(place))
        engine.load(weights_of(read_model(place)))
        for name in (GENERALIST, *KINDS):
            engine.adapt(name, adapter_over(self._folder / name, place))
        return engine, Tokenizer.from_directory(place)

    def _answers(
        self, engine: LocalEngine, tokenizer: Tokenizer, tasks: Sequence[Task], name: str | None
    ) -> list[tuple[str, bool]]:
        requests = [
            Request(
                key="",
                prompt=tuple(tokenizer.encode_prompt(task.prompt)),
                seed=0,
                num_rollouts=1,
                max_new_tokens=MAX_NEW_TOKENS,
                temperature=0.0,
                stop_tokens=tokenizer.stop_ids,
                adapter=name,
            )
            for task in tasks
        ]
        said = []
        for (rollout,) in engine.generate(requests):
            tokens = rollout.tokens[:-1] if rollout.finished else rollout.tokens
            said.append((tokenizer.decode(list(tokens)), rollout.finished))
        return said

    def _states(self, engine: LocalEngine, tokenizer: Tokenizer, tasks: Sequence[Task]) -> Floats:
        prompts = [tokenizer.encode_prompt(task.prompt) for task in tasks]
        found: Floats = engine.embed(prompts).double().numpy()
        return found

    def _routed(
        self, engine: LocalEngine, tokenizer: Tokenizer, tasks: Sequence[Task]
    ) -> list[str]:
        """Who each question goes to."""
        examples = {}
        for kind in KINDS:
            environment = make_environment(
                self._recipe_of(kind, 1).environment, self._plan.seed, None
            )
            shown = [environment.task("train", index) for index in range(self._plan.examples)]
            examples[kind] = self._states(engine, tokenizer, shown)
        routes = trained("0" * 64, examples)
        space, topics = routes.space.space(), topics_of(routes)
        coordinates = space.of(self._states(engine, tokenizer, tasks))
        return [choose(topics, each)[0] or BASE for each in coordinates]


def _found(
    right: Mapping[str, Floats], routed: Sequence[str], kinds: Sequence[str], resamples: int
) -> Found:
    num = len(kinds)
    weights = np.random.default_rng(0).multinomial(num, np.full(num, 1 / num), size=resamples) / num
    weights = np.concatenate([np.full((1, num), 1 / num), weights])
    owner = [kind if kind in KINDS else BASE for kind in kinds]
    by_router = np.array([right[name][n] for n, name in enumerate(routed)])
    by_topic = np.array([right[name][n] for n, name in enumerate(owner)])
    best = np.max([right[name] for name in (BASE, *KINDS)], axis=0)
    router, topics, oracle = (weights @ each for each in (by_router, by_topic, best))
    generalist = weights @ right[GENERALIST]
    lines = []
    for kind in dict.fromkeys(kinds):
        of = np.array([each == kind for each in kinds])
        own = kind if kind in KINDS else BASE
        hits = np.array([a == b for a, b in zip(routed, owner, strict=True)])
        parts = (right[BASE], right[GENERALIST], right[own], by_router, hits)
        lines.append(Line(kind, int(of.sum()), *(float(part[of].mean()) for part in parts)))
    return Found(
        base=interval(weights @ right[BASE]),
        generalist=interval(generalist),
        router=interval(router),
        topics=interval(topics),
        oracle=interval(oracle),
        regret=interval(_part(topics - router, topics)),
        oracle_regret=interval(_part(oracle - router, oracle)),
        gain=interval(router - generalist),
        lines=tuple(sorted(lines, key=lambda line: line.kind)),
    )


def _part(some: Floats, of: Floats) -> Floats:
    """Elementwise; NaN of nothing."""
    found: Floats = np.where(of > 0, some / np.maximum(of, 1e-12), np.nan)
    return found


def table(found: Found) -> str:
    """For people."""
    rows = (
        ("base alone", found.base),
        ("generalist", found.generalist),
        ("specialists, routed", found.router),
        ("specialists, by true topic", found.topics),
        ("oracle over all", found.oracle),
        ("router - generalist", found.gain),
        ("regret against true topic", found.regret),
        ("regret against the oracle", found.oracle_regret),
    )
    return "\n".join(
        [
            *(f"{name:<28}{value}" for name, value in rows),
            "",
            f"{'kind':<10}{'questions':>10}{'base':>8}{'general':>9}{'special':>9}{'routed':>8}{'to its own':>12}",
            *(
                f"{x.kind:<10}{x.num:>10}{x.base:>8.3f}{x.generalist:>9.3f}{x.specialist:>9.3f}{x.router:>8.3f}{x.routed_right:>11.0%}"
                for x in found.lines
            ),
        ]
    )
