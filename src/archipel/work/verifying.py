"""A run's work looked at once more by somebody whom nobody has to trust: weights, rewards, updates.

Parts: `ChainCheck` (each version from an anchor and deltas), `Regrading` (rewards of a batch), `Remaking`
(versions made again from their inputs). Law: nothing is believed; what differs is said, with both values.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from archipel.model.backends import read_any_config
from archipel.model.manifest import BadWeights, Manifest
from archipel.model.tokenizer import Tokenizer
from archipel.model.versions import apply_delta, decode_anchor
from archipel.records.adapter import AdapterForm
from archipel.records.chain import Publication
from archipel.records.documents import AcceptedWork
from archipel.records.fields import BlobRef
from archipel.records.payload import BadPayload
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.records.statements import RunOpened
from archipel.records.weight_parts import InParts
from archipel.training.batch import BadGroup
from archipel.training.checkpoint import BadCheckpoint
from archipel.training.curriculum import Curriculum, NotChosen, shown_as
from archipel.training.environments.apart import TaskProcessLost
from archipel.training.environments.environment import make_environment
from archipel.training.environments.task import InvalidEnvironment
from archipel.training.episodes import conduct_of, is_void
from archipel.training.grading import Grader, GraderUnavailable, Submission, grader_of
from archipel.training.groups import submissions
from archipel.training.optimiser import Diverged
from archipel.training.wording import wording_of_recipe
from archipel.work.episodes import upheld, upholding
from archipel.work.kind import Context, WorkFailed
from archipel.work.learner import Learner
from archipel.work.part_assembly import assembled, documents_of
from archipel.work.policies import Policy
from archipel.work.prompts import Prompts

ReadBlob = Callable[[BlobRef], bytes]
MICRO = 1_000_000
ChainFault = BadWeights
"""What a chain of weights can have."""
CANNOT_BE_MADE = (WorkFailed, BadCheckpoint, BadGroup, Diverged, BadPayload)
"""Why a version cannot be made again from what the ledger says it was made from."""
NOT_HERE = (GraderUnavailable, InvalidEnvironment, TaskProcessLost)
"""Why rewards cannot be given again on this machine; it says nothing of the run."""
CANNOT_BE_GRADED = (*NOT_HERE, WorkFailed)


class ChainCheck:
    """The weights of one version after the other; holds those of the newest that could be reached."""

    def __init__(self, form: AdapterForm | None = None) -> None:
        """form: of the adapters that the run was opened for; None: its versions are whole models."""
        self._form = form
        self._base: str | None = None
        self.held: Policy | None = None

    def step(self, made: Publication, parent: str | None, read: ReadBlob) -> tuple[str, ...]:
        """Go on to `made`, which follows the weights `parent`; which ways (`anchor`, `delta`) led to exactly its weights, () for none.

        Raises:
            BadWeights: a manifest, an anchor or a delta is damaged or leads elsewhere.
            WrongManifest: the manifest is not the published one's.
            Whatever `read` raises; the weights of the version before are then let go.
        """
        before, self.held = self.held, None
        if isinstance(made.manifest, InParts):
            return self._step_in_parts(made, parent, before, read)
        manifest = Manifest.from_bytes(read(made.manifest))
        if (manifest.state, manifest.version) != (made.policy, made.version):
            raise WrongManifest(
                f"the manifest is of version {manifest.version}, {manifest.state}; published was "
                f"{made.version}, {made.policy}"
            )
        if manifest.parent != parent:
            raise WrongManifest(f"the manifest's parent is {manifest.parent}, expected {parent}")
        self._check_over(manifest)
        ways: dict[str, Any] = {}
        if made.anchor is not None:
            ways["anchor"] = decode_anchor(read(made.anchor), manifest)
        if made.delta is not None and before is not None:
            ways["delta"] = apply_delta(before.state, before.manifest, read(made.delta), manifest)
        for state in ways.values():
            self.held = Policy(state, manifest)
        return tuple(ways)

    def _step_in_parts(
        self, made: Publication, parent: str | None, before: Policy | None, read: ReadBlob
    ) -> tuple[str, ...]:
        index, lists = documents_of(made, read)
        if index.parent != parent:
            raise WrongManifest(f"the index's parent is {index.parent}, expected {parent}")
        ways = []
        for way, listed in lists.items():
            pairs = zip(index.parts, listed.blobs, strict=True)
            files = ((read(part.manifest), read(blob)) for part, blob in pairs)
            if way == "anchor":
                found = assembled(index, files)
            elif before is None:
                continue
            else:
                found = assembled(index, files, before.state, before.manifest)
            self._check_over(found.manifest)
            self.held = Policy(found.state, found.manifest)
            ways.append(way)
        return tuple(ways)

    def _check_over(self, manifest: Manifest) -> None:
        form = None if manifest.over is None else manifest.over.form
        base = None if manifest.over is None else manifest.over.base
        if form != self._form:
            raise WrongManifest(
                f"the manifest is of {form or 'a whole model'}; the run was opened for {self._form or 'whole models'}"
            )
        if self._base not in (None, base):
            raise WrongManifest(f"the manifest's base is {base}; earlier versions' is {self._base}")
        self._base = base


class WrongManifest(BadWeights):
    """A manifest of other weights than those that were published."""


class Regrading:
    """Rewards of accepted rollouts by the run's own environment, in its grading process."""

    def __init__(
        self, recipe: Recipe, secret: bytes | None, model: Path, opened: RunOpened | None = None
    ) -> None:
        """model: a directory with all that the run began with; its weights are not read. opened: the run's opening,
        which says whose seals episodes need that the trusted role answered.

        Raises:
            InvalidEnvironment, TaskProcessLost: the environment cannot be made here.
        """
        self._tokenizer = Tokenizer.from_directory(model)
        environment = make_environment(recipe.environment, recipe.run.seed, secret)
        context_tokens = read_any_config(model, recipe.model.backend).max_position_embeddings
        self._conduct = conduct_of(recipe, environment, self._tokenizer)
        self._curriculum = Curriculum(recipe) if recipe.curriculum else None
        if self._curriculum is not None:
            environment = self._curriculum.over(environment)
            if self._conduct is not None:
                self._conduct = self._conduct.choosing(self._curriculum.task)
        self._prompts = Prompts(recipe, environment, self._tokenizer, context_tokens)
        self._check = upholding(self._conduct, opened, recipe.sampling.max_new_tokens)
        self._wording = wording_of_recipe(recipe, self._tokenizer)
        self._grader: Grader = grader_of(recipe, secret)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._grader.close()

    def mean_micro(self, groups: Mapping[int, Sequence[Rollout]]) -> int:
        """Mean reward of a batch, as a version's publication says it (`reward_micro`).

        Answers to a prompt that was cut, and void episodes, count as 0, ungraded, as they do for the learner.

        Raises:
            GraderUnavailable: the environment cannot be made here.
            WorkFailed: one of its tasks cannot, or follows from batches that were not seen here.
        """
        try:
            return self._mean_micro(groups)
        except NotChosen as error:
            raise WorkFailed(f"{error}") from None

    def _mean_micro(self, groups: Mapping[int, Sequence[Rollout]]) -> int:
        kept = {index: self._kept(index, rollouts) for index, rollouts in groups.items()}
        shown = [each for index, own in kept.items() for each in self._submissions(index, own)]
        rewards = self._grader.grade(shown_as(self._curriculum, shown))
        if self._curriculum is not None:
            given = iter(rewards)
            self._curriculum.learned(
                {
                    index: [next(given) if each else 0.0 for each in own]
                    for index, own in kept.items()
                }
            )
        return round(math.fsum(rewards) / sum(map(len, groups.values())) * MICRO)

    def _kept(self, index: int, rollouts: Sequence[Rollout]) -> list[Rollout | None]:
        """The rollouts that are graded; None for each that is not."""
        if self._prompts.is_cut(index):
            return [None] * len(rollouts)
        kept = upheld(self._check, index, rollouts, wording=self._wording)
        return [None if is_void(each) else each for each in kept]

    def _submissions(self, index: int, kept: Sequence[Rollout | None]) -> list[Submission]:
        turns_of = None if self._conduct is None else self._conduct.turns
        counted = [each for each in kept if each is not None]
        return submissions(index, counted, self._tokenizer, turns_of, wording=self._wording)

    @property
    def faults(self) -> int:
        """Gradings that gave 0 because of a time limit or a crash: they may come out otherwise elsewhere."""
        return sum(self._grader.faults.values())


class Remaking:
    """Versions made again, one after the other, by a trainer of our own."""

    def __init__(self, context: Context, folder: Path, told: int) -> None:
        """Start at version 0, or at the checkpoint of version `told` that the context holds (-1: none).

        Raises:
            WorkFailed, BadCheckpoint, InvalidEnvironment, InvalidModel: it cannot be started.
        """
        self._context = context
        self._learner = Learner(context, folder, told)
        self.metrics: Mapping[str, int] = {}
        """What was measured of the version that was made last."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._learner.close()

    @property
    def version(self) -> int:
        """Where it stands."""
        return self._learner.version

    @property
    def policy(self) -> str:
        """State digest of the weights of that version as this machine computes them."""
        return self._learner.policy.manifest.state

    @property
    def held(self) -> Policy:
        """Those weights."""
        return self._learner.policy

    def lean_on(self, published: Policy) -> None:
        """Go on from the weights that were published as this version, which are near: the next one is then compared by
        what one step adds, and not by what rounding has added up to.
        """
        self._learner.lean_on(published)

    def prompts(self, batch: int) -> bytes:
        """The prompts of a batch as this machine makes them, packed as they are published.

        Raises:
            WorkFailed: a task of it cannot be made.
        """
        return self._learner.prompts(batch)

    def next(self, inputs: tuple[AcceptedWork, ...], blobs: Mapping[str, Path]) -> str:
        """Make the next version from these results; returns its state digest.

        Raises:
            WorkFailed, BadPayload, Diverged: it cannot be made.
        """
        step = {"inputs": inputs, "blobs": dict(blobs)}
        self.metrics = self._learner.replay(self._context.model_copy(update=step))
        return self.policy
