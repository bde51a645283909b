"""Tasks chosen by what was learned: those that the policy solves sometimes teach the most.

Of a pool of tasks the learner remembers how much each earned lately. A batch takes most of its tasks from the band
that the recipe names, and some that were never tried or were not for the longest time, so that what was too
hard or too easy once comes back. Laws: a batch has no task twice; batch n follows from the run's seed, n and the
rewards of batches 0 .. n - S - 1 alone (S the staleness), in whatever order their groups came, so whoever
replays the ledger chooses the same; which task a group has never hangs on who samples it, or on what else is in
flight, so a group with equal rewards costs its place and biases nothing.
Sources: Prioritized Level Replay, arXiv 2010.03934; tasks of middling pass rate, arXiv 2504.03380.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

from archipel.records.recipe import Recipe
from archipel.records.seeds import derive_seed
from archipel.training.environments.task import Environment, Task
from archipel.training.grading import Submission
from archipel.training.refill import batches_of

MICRO = 1_000_000
NOTE = "curriculum"
SPLIT = "train"


class NotChosen(LookupError):
    """The task of a group is not known (yet): what it hangs on was not seen here."""


class Curriculum:
    """Which task each group of one run has."""

    def __init__(self, recipe: Recipe) -> None:
        """At version 0, of a recipe that has a `[curriculum]`."""
        if recipe.curriculum is None:
            raise ValueError("the recipe has no curriculum")
        self._section, self._run = recipe.curriculum, recipe.run
        self._batches = batches_of(recipe)
        self._rates: dict[int, tuple[int, int]] = {}
        """Task -> (what it earned lately in millionths, batch that it was last in)."""
        self._chosen: dict[int, tuple[int, ...]] = {}
        self._learned = 0
        """Batches 0 .. learned - 1 were learned from."""
        for batch in range(min(self._run.max_staleness + 1, self._run.versions)):
            self._chosen[batch] = self._choose(batch)

    @classmethod
    def of(cls, recipe: Recipe, notes: Mapping[str, Any], version: int) -> Self | None:
        """As `notes` left it at `version`; None where the recipe has none.

        Raises:
            NotChosen: there are notes of another version, or none.
        """
        if recipe.curriculum is None:
            return None
        made = cls(recipe)
        if version:
            made._take_up(notes.get(NOTE), version)
        return made

    def task(self, group: int) -> int:
        """Raises NotChosen."""
        batch, place = self._batches.origin(group), self._batches.place(group)
        if batch not in self._chosen:
            raise NotChosen(
                f"which task group {group} has follows from the rewards of earlier batches, and here those of "
                f"{self._learned} batches are known: look at the run from its first version on"
            )
        return self._chosen[batch][place]

    def learned(self, rewards: Mapping[int, Sequence[float]]) -> None:
        """The next batch was learned from. rewards: of each of its groups.

        Raises:
            NotChosen: it is not the next.
        """
        batch = self._learned
        num_further = len(rewards) - self._batches.size
        if sorted(rewards) != list(self._batches.groups(batch, max(0, num_further))):
            raise NotChosen(
                f"groups {min(rewards)} to {max(rewards)} are not those of batch {batch}"
            )
        for group, values in rewards.items():
            task, mean = self.task(group), math.fsum(values) / len(values) * MICRO
            before = self._rates.get(task)
            now = mean if before is None else before[0] + self._section.memory * (mean - before[0])
            self._rates[task] = (round(now), batch)
        self._learned += 1
        self._chosen.pop(batch - self._run.max_staleness - 1, None)
        following = self._learned + self._run.max_staleness
        if following < self._run.versions:
            self._chosen[following] = self._choose(following)

    def measures(self) -> dict[str, int]:
        """For a record: how many tasks of the pool were tried, and how many of them are in the band."""
        return {"curriculum_tried": len(self._rates), "curriculum_in_band": len(self._band())}

    def notes(self) -> dict[str, Any]:
        """All of it, as integers and lists; `of` takes it up."""
        rates = [[task, *known] for task, known in sorted(self._rates.items())]
        chosen = {str(batch): list(tasks) for batch, tasks in self._chosen.items()}
        return {NOTE: {"learned": self._learned, "rates": rates, "chosen": chosen}}

    def over(self, environment: Environment) -> Environment:
        """The same environment, whose training tasks are asked for by the number of a group."""
        return _Chosen(environment, self)

    def _take_up(self, note: Any, version: int) -> None:
        try:
            self._learned = int(note["learned"])
            self._rates = {int(task): (int(rate), int(at)) for task, rate, at in note["rates"]}
            self._chosen = {
                int(batch): tuple(map(int, tasks)) for batch, tasks in note["chosen"].items()
            }
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise NotChosen(f"version {version} comes without its curriculum: {error!r}") from None
        if self._learned != version:
            raise NotChosen(f"the curriculum is of version {self._learned}, expected {version}")

    def _choose(self, batch: int) -> tuple[int, ...]:
        """In order: the share that is kept for untried tasks and those not tried for longest, the band, the rest."""
        size = self._batches.size
        order = _shuffled(self._run.seed, batch, self._section.pool)
        untried = [task for task in order if task not in self._rates]
        oldest = sorted(
            (task for task in order if task in self._rates), key=lambda task: self._rates[task][1]
        )
        band = self._band()
        num_fresh = math.ceil(size * self._section.fresh)
        fresh = [*untried, *(task for task in oldest if task not in band)][:num_fresh]
        wanted = [*fresh, *(task for task in order if task in band), *untried, *oldest]
        return tuple(dict.fromkeys(wanted))[: size * (1 + self._batches.refill)]

    def _band(self) -> set[int]:
        low, high = round(self._section.low * MICRO), round(self._section.high * MICRO)
        return {task for task, (rate, _) in self._rates.items() if low <= rate <= high}


def _shuffled(seed: int, batch: int, pool: int) -> list[int]:
    """The tasks in an order of their own for each batch, the same on every machine."""
    start = derive_seed("curriculum", seed, batch).to_bytes(8, "big")
    return sorted(
        range(pool), key=lambda task: hashlib.sha256(start + task.to_bytes(8, "big")).digest()
    )


def shown_as(curriculum: Curriculum | None, shown: Sequence[Submission]) -> list[Submission]:
    """Completions of groups, as the environment knows the tasks that they answer."""
    if curriculum is None:
        return list(shown)
    return [replace(each, index=curriculum.task(each.index)) for each in shown]


class _Chosen:
    """An environment whose training tasks have the numbers of groups."""

    def __init__(self, environment: Environment, curriculum: Curriculum) -> None:
        self._environment, self._curriculum = environment, curriculum

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    def task(self, split: str, index: int) -> Task:
        is_group = split == SPLIT
        return self._environment.task(split, self._curriculum.task(index) if is_group else index)
