"""Real runs of tiny models in one process, with everything that their versions measure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from archipel.curves.history import History, Point, plain
from archipel.engine.engine import LocalEngine
from archipel.model.config import DecoderConfig
from archipel.model.network import Decoder, causal_attention, random_weights
from archipel.model.tokenizer import Tokenizer, character_tokenizer
from archipel.records.recipe import Recipe
from archipel.records.requests import Request
from archipel.training.answers import answer_metrics
from archipel.training.environments.task import Environment, Task
from archipel.training.grading import Submission
from archipel.training.report import UpdateReport
from archipel.training.rl import Rehearsal, reinforce
from archipel.training.trainer import Trainer
from archipel.work.measured import measured
from tiny import tiny_recipe


@dataclass
class Rehearsed:
    """A run, and its history as a watcher would see it."""

    recipe: Recipe
    environment: Environment
    tokenizer: Tokenizer
    model: Decoder

    def __post_init__(self) -> None:
        self._engine = LocalEngine(self.model.config)
        self._shown: Sequence[Submission] = ()
        self.points = [Point(0, 0.0, {})]

    def run(self) -> History:
        rehearsal = Rehearsal(
            self.recipe, self.environment, self.tokenizer, self.sample, self.grade_batch
        )
        self.trainer = Trainer(self.model, self.recipe)
        reinforce(self.trainer, rehearsal, self._measured)
        return self.history()

    def history(self, version: int | None = None) -> History:
        """Up to a version."""
        points = self.points if version is None else self.points[: version + 1]
        return History("run", self.recipe.run.versions, tuple(points), (), self.recipe.alarms)

    def sample(self, state: dict[str, Tensor], requests: Sequence[Request]) -> Any:
        self._engine.load(state)
        return self._engine.generate(requests)

    def grade_batch(self, shown: Sequence[Submission]) -> list[float]:
        self._shown = shown
        return self.grade(shown)

    def grade(self, shown: Sequence[Submission]) -> list[float]:
        place = self.environment
        return [
            place.grade(place.task(each.split, each.index), each.completion, each.finished)
            for each in shown
        ]

    def _measured(self, report: UpdateReport) -> None:
        metrics = measured(report) | answer_metrics(self._shown, self.grade)
        self.points.append(Point(report.version, 0.0, plain(metrics)))


class TwoAnswers:
    """Each task has one of two one-letter answers; `told`: its prompt says which, else nothing does."""

    supervised_floor = None

    def __init__(self, often: str, seldom: str, share: float, *, told: bool) -> None:
        """share: of the tasks whose answer is `often`."""
        self._answers, self._share, self._told = (often, seldom), share, told

    def task(self, split: str, index: int) -> Task:
        noise = torch.rand((), generator=torch.Generator().manual_seed(index)).item()
        which = int(noise >= self._share)
        prompt = f"{which}" if self._told else f"{index % 97}"
        return Task(index, split, prompt, {"right": self._answers[which]})

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        return float(completion[:1] == task.detail["right"])

    def supervised(self, index: int) -> None:
        return None


def two_answers(share: float, *, told: bool, versions: int = 40, seed: int = 0) -> Rehearsed:
    """A run from random weights, whose two answers are among what these say by themselves."""
    base = tiny_recipe(versions, 0).model_dump()
    base["run"] |= {"groups_per_update": 8, "group_size": 8, "seed": seed}
    base["sampling"]["max_new_tokens"] = 1
    base["loss"] = {"name": "trust_region"}
    base["optimiser"] |= {"learning_rate": 1e-2}
    base["alarms"] = {"finished": 0.0}  # no answer of one token ends by itself
    recipe, tokenizer = Recipe.model_validate(base), character_tokenizer()
    model = random_weights(DecoderConfig.from_section(recipe.model, tokenizer), seed)
    often, seldom, *_ = _likeliest(model, tokenizer)
    return Rehearsed(recipe, TwoAnswers(often, seldom, share, told=told), tokenizer, model)


def _likeliest(model: Decoder, tokenizer: Tokenizer) -> str:
    """Letters and digits that a model says first, the likeliest first."""
    ids = torch.tensor([tokenizer.encode_prompt("5")])
    positions = torch.arange(ids.shape[1]).unsqueeze(0)
    with torch.no_grad():
        logits = model.logits(model(ids, positions, causal_attention))[0, -1]
    texts = [tokenizer.decode((token,)) for token in logits.argsort(descending=True).tolist()]
    return "".join(text for text in texts if len(text) == 1 and text.isalnum())
