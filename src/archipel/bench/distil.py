"""What a larger teacher is worth to a student: before, taught in either way, and after as much computing over labels.

A large and a small model learn mixed questions from labels, the small one little. From there the student goes on in four
ways, each alone: on policy under the teacher; imitating what the teacher writes; over the right answers of all training
questions; over those of a few. The first has a number of updates and says how many processor seconds that takes; each other
way has as many steps as fit into these. What it does not show: large models, or a teacher that is often wrong.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from archipel.bench.cascade import Size
from archipel.bench.cascade_tasks import KINDS, questions, write_questions
from archipel.bench.distil_report import BEFORE, FEW, LABELS, TEACHER, Arm, Found, found_of
from archipel.bench.kept import Kept
from archipel.engine.engine import LocalEngine, Request
from archipel.model.directory import read_config, read_model
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.training.environments.environment import Environment, make_environment
from archipel.training.lessons import ON_POLICY, SEQUENCES, Given, Way
from archipel.training.sft import Progress
from archipel.training.start import start_model
from archipel.work.distilling import Places, distil
from archipel.work.folders import weights_of

MAX_NEW_TOKENS = 24
PROBE = (4, 24)
"""Steps between which the price of a step is measured; the teacher's writing falls into them."""
Tell = Callable[[int, int], None]
"""(steps done, steps in all)"""


LARGE, SMALL = Size(96, 3, 1200, 2e-3), Size(48, 2, 800, 5e-3)


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    seed: int = 0
    teacher: Size = LARGE
    student: Size = SMALL
    updates: int = 300
    """On policy."""
    groups: int = 16
    """Of each: questions, and answers to each. Four times as many, in a fifth of the steps, gained nothing."""
    group_size: int = 2
    learning_rate: float = 1e-3
    """On policy; twice as much was no better."""
    imitation_rate: float = 2e-3
    """Of the other ways."""
    few: int = 200
    """Labels, where they are scarce."""
    questions: int = 30_000
    held_out: int = 1000
    resamples: int = 1000


QUICK = Plan(
    teacher=Size(64, 2, 1000, 3e-3),
    updates=60,
    questions=6000,
    held_out=200,
    resamples=200,
)


class Measurement:
    """In a folder of its own, where models and answers stay, so that whoever starts it again goes on."""

    def __init__(
        self, recipe: Recipe, plan: Plan, folder: Path, tell: Callable[[str], None]
    ) -> None:
        """recipe: whose sections the plan changes; its model and environment are replaced."""
        self._recipe, self._plan, self._tell = recipe, plan, tell
        self._folder = folder.absolute()
        self._kept = Kept(self._folder)

    def measure(self) -> Found:
        """All of it."""
        torch.set_num_threads(1)
        self._write_questions()
        for name, size in ((TEACHER, self._plan.teacher), (BEFORE, self._plan.student)):
            self._trained(name, size)
        arms = [self._arm(name, lambda name=name: (0, 0.0)) for name in (TEACHER, BEFORE)]  # type: ignore[misc]
        taught = self._arm(ON_POLICY, lambda: self._taught(ON_POLICY, self._plan.updates))
        arms.append(taught)
        for name in (SEQUENCES, LABELS, FEW):
            arms.append(self._arm(name, lambda name=name: self._as_long(name, taught.seconds)))  # type: ignore[misc]
        return found_of(arms, self._plan.resamples)

    def _arm(self, name: str, learn: Callable[[], tuple[int, float]]) -> Arm:
        """Learned and examined now, unless it was before."""

        def measured() -> Arm:
            steps, seconds = learn()
            self._tell(f"{name}: {self._plan.held_out} held-out questions")
            return Arm(name, steps, seconds, self._answers(self._place(name)))

        return self._kept.value({"distil": name, "plan": asdict(self._plan)}, Arm, measured)

    def _place(self, name: str) -> Path:
        return self._folder / name.replace(" ", "-")

    def _write_questions(self) -> None:
        rows = questions(KINDS, self._plan.questions, self._plan.seed)
        write_questions(self._folder / "all.jsonl", rows)
        environment = self._environment("all")
        known = {question: (kind, question, answer) for kind, question, answer in rows}
        for name, parts in (
            ("few", {"train": self._plan.few, "dev": 1}),  # a file without the latter is refused
            ("held", {"test": 1}),
        ):
            shown = [
                known[environment.task(split, index).prompt]
                for split, num in parts.items()
                for index in range(num)
            ]
            write_questions(self._folder / f"{name}.jsonl", shown)

    def _environment(self, data: str) -> Environment:
        recipe = self._recipe_of(self._plan.student, data, 1, 1e-3)
        return make_environment(recipe.environment, self._plan.seed, None)

    def _trained(self, name: str, size: Size) -> None:
        """A model directory, trained now unless it is there."""
        out = self._place(name)
        partial = out.with_name(out.name + ".partial")
        if not out.exists():
            recipe = self._recipe_of(size, "all", size.steps, size.learning_rate)
            start_model(recipe, out, self._on_step(name), partial)
            shutil.rmtree(partial, ignore_errors=True)

    def _on_step(self, name: str) -> Callable[[Progress], None]:
        def told(progress: Progress) -> None:
            if progress.step % 50 == 0:
                loss = progress.smoothed_loss or progress.loss
                self._tell(f"{name}: step {progress.step}, loss {loss:.3f}")

        return told

    def _taught(
        self, way: Way, steps: int, on_step: Callable[[int], None] = lambda step: None
    ) -> tuple[int, float]:
        plan, out = self._plan, self._place(way)
        partial = out.with_name(out.name + ".partial")
        _remove(out, partial)

        def told(stand: Any) -> None:
            on_step(stand.step)
            if stand.step % 20 == 0:
                self._tell(f"{way}: step {stand.step} of {steps}, {stand.nats:.3f} nats a token")

        rate = plan.learning_rate if way == ON_POLICY else plan.imitation_rate
        recipe = self._recipe_of(plan.student, "all", steps, rate)
        places = Places(self._place(BEFORE), self._place(TEACHER), out, partial)
        began = time.process_time()
        distil(recipe, Given(way, steps, rate), places, told)
        return steps, time.process_time() - began

    def _labelled(
        self, name: str, steps: int, on_step: Callable[[int], None] = lambda step: None
    ) -> tuple[int, float]:
        out = self._place(name)
        _remove(out)
        data, tell = "few" if name == FEW else "all", self._on_step(name)

        def told(progress: Progress) -> None:
            on_step(progress.step)
            tell(progress)

        recipe = self._recipe_of(self._plan.student, data, steps, self._plan.imitation_rate)
        began = time.process_time()
        start_model(recipe, out, told, weights=self._place(BEFORE))
        return steps, time.process_time() - began

    def _as_long(self, name: str, seconds: float) -> tuple[int, float]:
        """In as many steps as fit into these seconds of the processor, by the price of the first few."""
        clock: dict[int, float] = {}
        first, last = PROBE
        began = time.process_time()

        def on_step(step: int) -> None:
            clock[step] = time.process_time()

        self._gone(name, last, on_step)
        a_step = (clock[last] - clock[first]) / (last - first)
        before = clock[first] - began - first * a_step
        return self._gone(name, max(1, round((seconds - max(0.0, before)) / a_step)))

    def _gone(
        self, name: str, steps: int, on_step: Callable[[int], None] = lambda step: None
    ) -> tuple[int, float]:
        if name == SEQUENCES:
            return self._taught(SEQUENCES, steps, on_step)
        return self._labelled(name, steps, on_step)

    def _recipe_of(self, size: Size, data: str, steps: int, rate: float) -> Recipe:
        plan, base = self._plan, self._recipe.model_dump()
        base["run"] |= {
            "seed": plan.seed,
            "groups_per_update": plan.groups,
            "group_size": plan.group_size,
        }
        parameters = {"path": str(self._folder / f"{data}.jsonl"), "template": "{question}"}
        if data != "all":
            parameters |= {"test_path": str(self._folder / "held.jsonl")}
        base["environment"] = {"name": "jsonl", "parameters": parameters | {"answer_kind": "text"}}
        base["model"] |= {
            "hidden_size": size.width,
            "num_layers": size.layers,
            "intermediate_size": size.width * 11 // 4 // 8 * 8,
            "max_position_embeddings": 96,
        }
        base["sampling"] |= {"max_new_tokens": MAX_NEW_TOKENS, "temperature": 1.0}
        settling = steps // 5
        base["supervised"] |= {
            "steps": max(1, steps - settling),
            "batch_size": 32,
            "learning_rate": rate,
            "decay_steps": settling,
        }
        return Recipe.model_validate(base)

    def _answers(self, place: Path) -> tuple[float, ...]:
        """How good each greedy answer to a held-out question is."""
        environment = self._environment("all")
        tasks = [environment.task("test", index) for index in range(self._plan.held_out)]
        engine, tokenizer = LocalEngine(read_config(place)), Tokenizer.from_directory(place)
        engine.load(weights_of(read_model(place)))
        requests = [
            Request(
                key="",
                prompt=tuple(tokenizer.encode_prompt(task.prompt)),
                seed=0,
                num_rollouts=1,
                max_new_tokens=MAX_NEW_TOKENS,
                temperature=0.0,
                stop_tokens=tokenizer.stop_ids,
            )
            for task in tasks
        ]
        graded = []
        for task, (said,) in zip(tasks, engine.generate(requests), strict=True):
            text = tokenizer.decode(said.tokens[:-1] if said.finished else said.tokens)
            graded.append(environment.grade(task, text, said.finished))
        return tuple(graded)


def _remove(*folders: Path) -> None:
    for each in folders:
        shutil.rmtree(each, ignore_errors=True)
