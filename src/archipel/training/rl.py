"""Reinforcement learning in one process, in lock step: the reference for every distributed run.

Each version: publish, sample its groups from exactly those weights, grade, update. A distributed run
with staleness 0 must give the same weights bit for bit; with more staleness, the same skill.
Law: sampling and grading are arguments, so the loop knows no engine and no environment.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.training.batch import Group
from archipel.training.curriculum import Curriculum, shown_as
from archipel.training.environments.task import Environment
from archipel.training.grading import Submission
from archipel.training.groups import TurnsOf, group_request, submissions
from archipel.training.refill import batches_of, num_wanted
from archipel.training.report import UpdateReport
from archipel.training.trainer import Trainer
from archipel.training.wording import wording_of_recipe

Sample = Callable[[Mapping[str, Tensor], Sequence[Request]], Sequence[Sequence[Rollout]]]
"""(published state, requests) -> per request, its rollouts in order."""
Grade = Callable[[Sequence[Submission]], Sequence[float]]


@dataclass(frozen=True)
class Rehearsal:
    """A run whose rollouts are made on the spot."""

    recipe: Recipe
    environment: Environment
    tokenizer: Tokenizer
    sample: Sample
    grade: Grade
    curriculum: Curriculum | None = None
    """Which task each group has; None: the one of its own number."""
    turns_of: TurnsOf | None = None
    """Where rollouts are episodes: how they are read for grading (`Conduct.turns`)."""

    def groups(self, state: Mapping[str, Tensor], version: int, indices: range) -> list[Group]:
        """Sample and grade the groups with these numbers under `state`."""
        place = self.environment
        if self.curriculum is not None:
            place = self.curriculum.over(place)
        requests = [group_request(self.recipe, place, self.tokenizer, index) for index in indices]
        sampled = self.sample(state, requests)
        wording = wording_of_recipe(self.recipe, self.tokenizer)
        shown = [
            submission
            for index, rollouts in zip(indices, sampled, strict=True)
            for submission in submissions(
                index, rollouts, self.tokenizer, self.turns_of, wording=wording
            )
        ]
        rewards = iter(self.grade(shown_as(self.curriculum, shown)))
        return [
            Group(
                index,
                request.prompt,
                tuple(rollouts),
                tuple(next(rewards) for _ in rollouts),
                version,
            )
            for index, request, rollouts in zip(indices, requests, sampled, strict=True)
        ]


def reinforce(
    trainer: Trainer,
    rehearsal: Rehearsal,
    on_update: Callable[[UpdateReport], None] = lambda report: None,
    checkpoints: Path | None = None,
) -> None:
    """Train until the recipe's last version, from whatever version the trainer is at.

    With `checkpoints`, every version is saved after `on_update` saw it; after a kill, restore
    the trainer from there and call again: a version may be reported twice, with equal numbers.
    """
    batches = batches_of(rehearsal.recipe)
    wording = wording_of_recipe(rehearsal.recipe, rehearsal.tokenizer)
    trainer.allow(None if wording is None else wording.allowed)
    while trainer.version < rehearsal.recipe.run.versions:
        version = trainer.version
        state, further, before = trainer.published_state(), batches.further(version), 0
        groups = rehearsal.groups(state, version, batches.first(version))
        while more := num_wanted(groups, rehearsal.recipe):
            groups += rehearsal.groups(state, version, further[before : before + more])
            before += more
        report = trainer.update(groups)
        if rehearsal.curriculum is not None:
            rehearsal.curriculum.learned({group.index: group.rewards for group in groups})
            trainer.notes = rehearsal.curriculum.notes()
        on_update(report)
        if checkpoints is not None:
            trainer.save(checkpoints)
