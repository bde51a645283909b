"""A batch of accepted rollouts as what is learned from: read, held against what was asked, graded, and counted.

Parts: `Asked` (what a run's groups were asked and how they are read), `GradedBatch`, `TooFew`. Laws: rewards come from
the environment here and from nowhere else; a batch that refills is graded a share at a time, each once, and asks for
what `training.refill` says, so that whoever has its results comes to the same groups.
"""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from archipel.model.tokenizer import Tokenizer
from archipel.records.episodes import RETOLD
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.training.answers import answer_metrics
from archipel.training.batch import Group
from archipel.training.curriculum import Curriculum, shown_as
from archipel.training.episodes import Conduct, is_void
from archipel.training.grading import Grader, GraderUnavailable, Submission
from archipel.training.groups import submissions
from archipel.training.refill import batches_of, num_wanted
from archipel.training.sharding import share_bytes, this_site
from archipel.training.wording import Wording
from archipel.work.accepted import SampledGroup, batch_groups
from archipel.work.episodes import upheld
from archipel.work.grades import NOTHING, BatchGrades, Earned, Grades, columns, earned_of
from archipel.work.kind import Context, WorkFailed
from archipel.work.measured import MICRO
from archipel.work.prompts import Prompts
from archipel.work.seals import Check

log = logging.getLogger(__name__)
VOID = "%s: group %d, rollout %d says what cannot have been sampled or answered: void, reward 0"


class TooFew(Exception):
    """Too few groups of the batch teach anything; `more` further ones are wanted, after `before`."""

    def __init__(self, batch: int, before: int, more: int) -> None:
        super().__init__(f"batch {batch} wants {more} groups more")
        self.batch, self.before, self.more = batch, before, more


@dataclass(frozen=True)
class Asked:
    """What the groups of one run were asked, and how their answers are read."""

    recipe: Recipe
    tokenizer: Tokenizer
    prompts: Prompts
    conduct: Conduct | None
    check: Check | None
    """Whether what an environment answered is believed."""
    wording: Wording | None
    curriculum: Curriculum | None


class GradedBatch:
    """The batch that was graded last, and its metrics."""

    def __init__(self, asked: Asked, grader: Grader, folder: Path) -> None:
        """folder: the run's own lasting folder."""
        self._asked, self._grader, self._grades = asked, grader, Grades(folder)
        self._site = this_site()
        self._batches = batches_of(asked.recipe)
        self._begin()

    def _begin(self) -> None:
        self._void = self._retold = self._further = 0
        self._answers: list[Submission] = []
        self._parts: list[tuple[int, Mapping[str, float]]] = []
        """(gradings, means of their parts) of each share."""

    def groups(self, version: int, context: Context) -> list[Group]:
        """The groups of batch `version` from the context's inputs, graded.

        Raises:
            TooFew: it needs further ones, which are not among them.
            WorkFailed: they are not what the batch asked for.
        """
        self._begin()
        found = self._graded(version, self._batches.first(version), context)
        further = self._batches.further(version)
        given = {g for each in context.inputs for g in getattr(each.spec, "groups", ())}
        num_given = len(given.intersection(further))
        while more := num_wanted(found, self._asked.recipe):
            if num_given == self._further:
                raise TooFew(version, self._further, more)
            share = further[self._further : self._further + more]
            found += self._graded(version, share, context)
            self._further += more
        if num_given != self._further:
            raise WorkFailed(
                f"batch {version} was given {num_given} further groups; it asked for {self._further}"
            )
        return found

    def measures(self) -> dict[str, int]:
        """Of the batch, for a record."""
        total = max(1, sum(num for num, _ in self._parts))
        names = sorted({name for _, parts in self._parts for name in parts})
        means = {
            name: math.fsum(num * parts.get(name, 0.0) for num, parts in self._parts) / total
            for name in names
        }
        refilled = {"further_groups": self._further} if self._batches.refill else {}
        return {
            **{f"{name}_micro": round(mean * MICRO) for name, mean in means.items()},
            "grading_faults": sum(self._grader.faults.values()),
            **refilled,
            **self._voided(),
        }

    def _voided(self) -> dict[str, int]:
        """How many rollouts are void, and how many are several samples, where any may be."""
        conduct = self._asked.conduct
        if conduct is not None:
            retold = {"retold_episodes": self._retold} if conduct.manner.retells else {}
            return {"void_episodes": self._void, **retold}
        return {} if self._asked.wording is None else {"void_completions": self._void}

    def _graded(self, version: int, share: range, context: Context) -> list[Group]:
        sent = batch_groups(share, context)
        sampled = {
            index: (sampled_from, self._upheld(index, rollouts, context))
            for index, (sampled_from, rollouts) in sent.items()
        }
        everything = [each for _, rollouts in sampled.values() for each in rollouts]
        self._void += sum(map(is_void, everything))
        self._retold += sum(RETOLD in (each.sampled or b"") for each in everything)
        shown = shown_as(self._asked.curriculum, self._shown(sampled))
        self._answers += shown
        earned = iter(self._earned(version, shown))
        groups = []
        for index, (sampled_from, rollouts) in sampled.items():
            own = [next(earned) if self._counts(index, each) else NOTHING for each in rollouts]
            rewards, parts = tuple(each[0] for each in own), columns([each[1] for each in own])
            prompt = self._asked.prompts.request(index).prompt
            groups.append(Group(index, prompt, tuple(rollouts), rewards, sampled_from, parts))
        return groups

    def _shown(self, sampled: Mapping[int, SampledGroup]) -> list[Submission]:
        asked = self._asked
        turns_of = None if asked.conduct is None else asked.conduct.turns
        return [
            submission
            for index, (_, rollouts) in sampled.items()
            for submission in submissions(
                index,
                [each for each in rollouts if self._counts(index, each)],
                asked.tokenizer,
                turns_of,
                wording=asked.wording,
            )
        ]

    def _counts(self, index: int, rollout: Rollout) -> bool:
        return not self._asked.prompts.is_cut(index) and not is_void(rollout)

    def _upheld(self, index: int, rollouts: list[Rollout], context: Context) -> list[Rollout]:
        """The group's rollouts, void those that the environment did not write as they say, or that were not sampled
        as they were asked.
        """

        def tell(number: int) -> None:
            works = ", ".join(
                e.work for e in context.inputs if index in getattr(e.spec, "groups", ())
            )
            log.warning(VOID, works, index, number)

        return upheld(self._asked.check, index, rollouts, tell, self._asked.wording)

    def answered(self) -> dict[str, int]:
        """What the batch answered, as metrics; gradings that it takes count in no fault of the batch."""
        if not self._site.is_first:
            return {}
        faults = self._grader.faults.copy()
        try:
            return answer_metrics(self._answers, self._grader.grade)
        except GraderUnavailable:
            return {}  # a measurement less: the version is made, and other ranks wait for it
        finally:
            self._grader.faults = faults

    def _earned(self, version: int, shown: list[Submission]) -> Sequence[Earned]:
        """Graded once, by the first rank, for all ranks: a time limit must not part them."""
        site, told = self._site, b""
        if site.world == 1:
            return earned_of(self._graded_once(version, shown))
        try:
            if site.is_first:
                told = json.dumps(earned_of(self._graded_once(version, shown))).encode()
        finally:
            told = share_bytes(told, site)
        if not told:
            raise WorkFailed("the first rank could not grade; its log says why")
        return [(float(reward), parts) for reward, parts in json.loads(told)]

    def _graded_once(self, version: int, shown: list[Submission]) -> BatchGrades:
        share = len(self._parts)
        grades = self._grades.of(version + 1, shown, share)
        if grades is None:
            grades = BatchGrades.of(self._grader.graded(shown))
            self._grades.keep(version + 1, shown, grades, share)
        self._parts.append((len(shown), grades.parts))
        return grades
