"""The costly half of `archipel run verify`: rewards graded again, versions made again.

Both run the recipe's environment on this machine, so only a recipe that reads nothing here, or that the
person at the keyboard has named.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from archipel.cli.doors import Mendable
from archipel.cli.findings import Findings, rollouts_of
from archipel.cli.run_blobs import Altered, Blobs, NotKept
from archipel.lab.run_story import RunStory, Update
from archipel.records.documents import AcceptedWork
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutAnswer
from archipel.records.payload import BadPayload
from archipel.records.recipe import Recipe, recipe_from_canonical
from archipel.records.recipe_form import InvalidRecipe
from archipel.records.rollouts import Rollout
from archipel.records.statements import RunOpened

if TYPE_CHECKING:
    from archipel.work.kind import Context
    from archipel.work.verifying import Remaking

ALL = -1
REWARD = "reward_micro"
READS_NOTHING = ("secret_order", "reasoning_gym", "drawers", "guess")
"""Environments that read no file and load no package that a recipe names."""


@dataclass(frozen=True)
class Asked:
    """How far to go."""

    rewards: bool
    updates: int
    """Versions to make again; ALL for every one that can be."""
    evaluations: int | None
    """Newest evaluations to make again; ALL for every one, None for one where rewards are graded."""
    secret: bytes | None
    known_recipes: tuple[str, ...]
    """Digests that the recipe which the person at the keyboard has read may have in a record; none was named: ()."""
    scratch: Path
    replay: int = 0
    """Results to recompute, of a run that is sampled by the exact contract; ALL for every one."""

    @property
    def num_exams(self) -> int:
        """Newest evaluations to make again."""
        return int(self.rewards) if self.evaluations is None else self.evaluations


class Recomputing:
    """Of one run."""

    def __init__(
        self, story: RunStory, opened: RunOpened, blobs: Blobs, findings: Findings, asked: Asked
    ) -> None:
        self._story = story
        self._opened = opened
        self._blobs = blobs
        self._findings = findings
        self._asked = asked

    def run(self) -> None:
        """Rewards, then evaluations, then updates, as far as asked."""
        asked, limits = self._asked, self._findings.limits
        if not asked.rewards:
            limits.append("rewards: not asked (--secret-file or --rewards)")
        if not asked.updates:
            limits.append("updates: not asked (--updates)")
        if self._story.exams and not asked.num_exams:
            limits.append(
                f"{len(self._story.exams)} evaluations: not asked (--evaluations, with the secret); "
                "their scores are the trusted role's word"
            )
        if not (asked.rewards or asked.updates or asked.num_exams):
            return
        with (
            self._findings.looking("recomputation", "the run's opening"),
            tempfile.TemporaryDirectory(dir=asked.scratch) as folder,
        ):
            recipe = self.recipe()
            needs_weights = asked.updates != 0 or self._opened.pace.adapter is not None
            model = self.model(Path(folder) / "model", weights=needs_weights)
            if asked.rewards:
                self._rewards(recipe, model)
            if asked.num_exams:
                self._evaluations(recipe, model)
            if asked.updates:
                self._updates(model, Path(folder) / "memory")

    def recipe(self) -> Recipe:
        """The run's, if it may run here."""
        try:
            recipe = recipe_from_canonical(self._blobs.read(self._opened.recipe))
        except InvalidRecipe as error:
            raise Altered(f"the recipe cannot be read: {error}") from None
        name, known = recipe.environment.name, self._asked.known_recipes
        if known and recipe.digest not in known:
            raise Mendable(
                f"the run follows recipe {recipe.digest}, the one that you named is {known[0]}"
            )
        if not known and name not in READS_NOTHING:
            raise NotKept(
                f"environment {name!r} reads files or loads packages of this machine; read the recipe, "
                "and name it with --recipe"
            )
        if recipe.secret_name is not None and self._asked.secret is None:
            raise NotKept(f"it needs the secret {recipe.secret_name!r} (--secret-file)")
        return recipe

    def model(self, folder: Path, *, weights: bool) -> Path:
        """The initial model directory, or all of it but the weights."""
        from archipel.node.operator import copy_file

        for file in self._opened.model:
            if weights or not file.name.endswith(".safetensors"):
                copy_file(self._blobs.path(file.blob), folder / file.name)
        return folder

    def _rewards(self, recipe: Recipe, model: Path) -> None:
        from archipel.work.verifying import CANNOT_BE_GRADED, NOT_HERE, Regrading

        what, updates = "versions' rewards", self._story.updates
        with (
            self._findings.looking(what, "rewards"),
            only_here(NOT_HERE),
            Regrading(recipe, self._asked.secret, model, self._story.opened) as regrading,
        ):
            for number, update in enumerate(updates[1:], 1):
                self._findings.progress(f"rewards of version {number} of {len(updates) - 1}")
                before = regrading.faults
                with self._findings.looking(
                    what, f"reward of version {number}", BadPayload, KeyError
                ):
                    batch = self._batch(number)
                    with only_here(CANNOT_BE_GRADED):
                        mean = regrading.mean_micro(batch)
                    told = update.answer.metrics.get(REWARD)
                    if mean != told and regrading.faults > before:
                        raise NotKept("a grading ran out of time or crashed here")
                    if mean != told:
                        raise BadPayload(
                            f"{mean} micro-units here, {told} in the ledger; a wrong secret gives this, too"
                        )
                    self._findings.checked[what] += 1

    def _evaluations(self, recipe: Recipe, model: Path) -> None:
        from archipel.cli.exams import examine_again
        from archipel.work.reexamining import Reexamining
        from archipel.work.verifying import NOT_HERE

        most, secret = self._asked.num_exams, self._asked.secret
        with (
            self._findings.looking("evaluations", "evaluations"),
            only_here(NOT_HERE),
            Reexamining(recipe, secret, model) as reexamining,
        ):
            examine_again(self._story, self._blobs, self._findings, most, reexamining)

    def _batch(self, version: int) -> Mapping[int, list[Rollout]]:
        found: dict[int, list[Rollout]] = {}
        for each in self._story.inputs(version):
            found |= rollouts_of(self._story, self._blobs, each)
        return {index: found[index] for index in self._story.batch(version)}

    def _updates(self, model: Path, memory: Path) -> None:
        from archipel.work.verifying import CANNOT_BE_MADE, NOT_HERE, Remaking

        start, checkpoint = self._start()
        last = self._last(start)
        context = self.context(model, memory, checkpoint)
        with (
            self._findings.looking("updates", f"version {start}", *CANNOT_BE_MADE),
            only_here(NOT_HERE),
            Remaking(context, memory, start if checkpoint else -1) as remaking,
        ):
            self._same(remaking.policy, self._story.updates[start], "starts of updates")
            for number in range(start + 1, last + 1):
                self._findings.progress(f"update {number} of {last}")
                if not self._is_made_again(remaking, number):
                    after = f"version {number} could not be made again"
                    self._findings.missing["updates", after] += last - number
                    break

    def _is_made_again(self, remaking: "Remaking", number: int) -> bool:
        """Whether this version came out the same; if not, the next ones cannot either."""
        from archipel.work.verifying import CANNOT_BE_MADE, NOT_HERE

        what = f"version {number}"
        with self._findings.looking("updates", what, *CANNOT_BE_MADE), only_here(NOT_HERE):
            made = remaking.next(*self.inputs(number))
            self._same(made, self._story.updates[number], "updates made again")
            return True
        return False

    def _last(self, start: int) -> int:
        """The last version to make again, after `start`; the others are counted as not checked."""
        newest, asked = len(self._story.updates) - 1, self._asked.updates
        last = newest if asked == ALL else min(start + asked, newest)
        for num, why in (
            (newest - last, "not asked (--updates all)"),
            (
                start,
                "what they were made from is not kept; begun at a checkpoint, which is believed",
            ),
        ):
            if num:
                self._findings.missing["updates", why] += num
        return last

    def _same(self, policy: str, update: Update, what: str) -> None:
        if policy != update.answer.policy:
            raise BadPayload(
                f"this machine makes it {policy}, the ledger says {update.answer.policy}; another kind "
                "of processor or number of threads may round otherwise"
            )
        self._findings.checked[what] += 1

    def _start(self) -> tuple[int, BlobRef | None]:
        """Where updates can be made again from: version 0, or the newest checkpoint."""
        updates = self._story.updates
        saved = [
            (number, update.answer.memory)
            for number, update in enumerate(updates)
            if update.answer.memory is not None
        ]
        try:
            if len(updates) > 1:
                self._batch(1)
        except NotKept:
            if saved:
                return saved[-1]
        return 0, None

    def inputs(self, version: int) -> tuple[tuple[AcceptedWork, ...], dict[str, Path]]:
        """What this version was made from: accepted results, and their files by digest. Raises NotKept, Altered."""
        inputs = self._story.inputs(version)
        answers = [each.answer for each in inputs if isinstance(each.answer, RolloutAnswer)]
        return inputs, {each.result.digest: self._blobs.path(each.result) for each in answers}

    def context(self, model: Path, memory: Path, checkpoint: BlobRef | None) -> "Context":
        """Of a trusted role that learns in the folder `memory`, which may not be there yet."""
        from archipel.work.kind import Context

        memory.mkdir(parents=True, exist_ok=True)
        return Context(
            work=f"{self._opened.run}.1",
            opened=self._opened,
            model=model,
            chain=(),
            blobs={},
            secret=self._asked.secret,
            recipe=self._blobs.read(self._opened.recipe),
            inputs=(),
            replay=(),
            checkpoint=self._blobs.path(checkpoint) if checkpoint else None,
            scratch=memory,
            memory=memory,
        )


@contextmanager
def only_here(kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    """What this machine cannot do (a package it lacks, a wall it cannot put up) is no fault of the run."""
    try:
        yield
    except kinds as error:
        raise NotKept(f"cannot be done here: {error}") from None
