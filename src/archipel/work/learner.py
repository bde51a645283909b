"""The trusted side of one run: environment, grader and trainer, and what they have published last.

Parts: `Learner.make` grades a batch, updates and answers with the new version; `accepted` reads the
results, `prompts` makes the tasks, `memory` finds where to start, `outbox` holds what was made, `grades`
what it was made from.
Law: version v+1 is a pure function of version v and the accepted results of batch v, so a learner that
lost its memory replays the results and comes out the same, bit for bit; rewards come from the
environment here and from nowhere else.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from archipel.model.backends import read_any_config
from archipel.model.devices import CPU
from archipel.model.manifest import Manifest, describe
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.records.weight_parts import BadParts
from archipel.training.batch import Group
from archipel.training.checkpoint import checkpoint_file
from archipel.training.curriculum import Curriculum, NotChosen
from archipel.training.environments.environment import make_environment
from archipel.training.episodes import conduct_of
from archipel.training.grading import grader_of
from archipel.training.sharding import max_over_ranks, share_bytes, this_site
from archipel.training.wording import NoPieces, Wording, wording_of_recipe
from archipel.work.episodes import upholding
from archipel.work.graded import Asked, GradedBatch, TooFew
from archipel.work.kind import Answer, Context, WorkFailed
from archipel.work.measured import measured
from archipel.work.memory import same_secret, started_trainer
from archipel.work.outbox import Outbox
from archipel.work.part_plan import CannotPart
from archipel.work.policies import Policy
from archipel.work.prompts import LOOKING_LIMIT_S, Prompts
from archipel.work.publishing import write_in_parts, write_weights
from archipel.work.rank_parts import Shares, compute, write_shared
from archipel.work.start_check import Subject, at_start

SAVE_EVERY = 10
"""A restart replays at most so many versions, however seldom the run publishes its checkpoint."""


class Learner:
    """One run in the hands of the trusted role."""

    def __init__(
        self, context: Context, folder: Path, told: int, device: torch.device = CPU
    ) -> None:
        """Start where `memory.started_trainer` does.

        folder: the run's own lasting folder. told: version of the context's checkpoint, -1 for none.
        device: where it learns.
        """
        self.recipe = context.recipe_as(Recipe)
        self.folder = folder
        self._site = this_site()
        self._tokenizer = Tokenizer.from_directory(context.model)
        section, seed = self.recipe.environment, self.recipe.run.seed
        if self._site.is_first:
            same_secret(folder, context.secret)
        environment = make_environment(section, seed, context.secret)
        self._config = read_any_config(context.model, context.backend)
        context_tokens = self._config.max_position_embeddings
        self._conduct = conduct_of(self.recipe, environment, self._tokenizer)
        self._wording = _wording(self.recipe, self._tokenizer)
        self._outbox = Outbox(folder)
        self._trainer = trainer = started_trainer(context, self.recipe, folder, told, device)
        trainer.allow(None if self._wording is None else self._wording.allowed)
        try:
            self._curriculum = Curriculum.of(self.recipe, trainer.notes, trainer.version)
        except NotChosen as error:
            raise WorkFailed(f"the learner's checkpoint cannot be gone on from: {error}") from None
        if self._conduct is not None and self._curriculum is not None:
            self._conduct = self._conduct.choosing(self._curriculum.task)
        self._pool = Prompts(self.recipe, environment, self._tokenizer, context_tokens)
        self._prompts = self._pool
        if self._curriculum is not None:
            chosen = self._curriculum.over(environment)
            self._prompts = Prompts(self.recipe, chosen, self._tokenizer, context_tokens)
        asked = Asked(
            self.recipe,
            self._tokenizer,
            self._prompts,
            self._conduct,
            upholding(self._conduct, context.opened, self.recipe.sampling.max_new_tokens),
            self._wording,
            self._curriculum,
        )
        self._grader = grader_of(self.recipe, context.secret, folder)
        self._batch = GradedBatch(asked, self._grader, folder)
        self._policy: Policy | None = None
        self._shares = self._own_shares()

    def _own_shares(self) -> Shares | None:
        """Of a version in parts, where several ranks write it."""
        parts = self.recipe.run.parts
        if parts is None or self._site.world == 1:
            return None
        try:
            return Shares.of(self._trainer, parts, self._site)
        except CannotPart as error:
            raise WorkFailed(str(error)) from None

    @property
    def version(self) -> int:
        """Version that the trainer stands at."""
        return self._trainer.version

    @property
    def policy(self) -> Policy:
        """The weights of that version as this machine computed them. A collective."""
        if self._policy is None:
            self._policy = self._computed(None)
        return self._policy

    @property
    def known_policy(self) -> str | None:
        """Its state digest, if it was computed already, or read beside what was saved."""
        return self._trainer.policy if self._policy is None else self._policy.manifest.state

    def _computed(self, parent: str | None) -> Policy:
        """The trainer's weights, of which several ranks keep their own parts, or the first all; each knows what they are.
        A collective.

        parent: state digest of the version before.
        """
        site, trainer = self._site, self._trainer
        if self._shares is not None:
            return compute(trainer, self._shares, parent)
        state = trainer.published_state(bool if site.is_first else lambda name: False)
        if site.world == 1:
            return Policy(state, describe(state, self.version, parent, trainer.over))
        told = b""
        if site.is_first:
            told = describe(state, self.version, parent, trainer.over).to_bytes()
        return Policy(state, Manifest.from_bytes(share_bytes(told, site)))

    def close(self) -> None:
        """End the grader."""
        self._grader.close()

    def first(self) -> Answer:
        """Publish version 0, once nothing is found that nodes could only fail at.

        Raises:
            WorkFailed: prompts that do not fit, tasks that cannot be made, weights that are no numbers, an
                engine that does not compute the trainer's model.
        """
        limit_s = LOOKING_LIMIT_S if self._site.world == 1 else math.inf  # ranks have to agree
        self._pool.look_ahead(limit_s)
        own = self.policy.state.items()
        bad = [name for name, each in (*own, *self._trainer.frozen()) if not each.isfinite().all()]
        if int(max_over_ranks(torch.tensor([len(bad)]), self._site)):  # ranks have to agree
            name = bad[0] if bad else "a tensor that the first rank holds"
            raise WorkFailed(f"the run's weights are not all numbers: {name} is not finite")
        if self._site.world == 1:  # nodes compare for themselves
            self._compare()
        return self._publish(None, self.policy, {}, None)

    def _compare(self) -> None:
        """Engine and trainer on the first prompts. Raises WorkFailed."""
        first = [self._prompts.request(index) for index in self._prompts.batch(0)]
        state, adapter = self.policy.state, self.policy.adapter
        if adapter is not None:
            state = {name: weight.bfloat16() for name, weight in self._trainer.frozen()}
        subject = Subject(self._config, state, adapter, self._trainer.scorer)
        at_start(subject, self.recipe.sampling.contract, first)

    def make(self, context: Context, inputs: str | None) -> Answer:
        """The next version, from the accepted results of its batch, which are the context's inputs; or what more the
        batch needs. inputs: the digest of their list.
        """
        parent = self.policy
        try:
            metrics = self._learn(context) | self._batch.answered()
        except TooFew as wanted:
            return self._more(wanted, context.scratch)
        self._policy = self._computed(parent.manifest.state)
        return self._publish(parent, self._policy, metrics, inputs)

    def prompts(self, batch: int) -> bytes:
        """The prompts of a batch, as they are published."""
        return self._prompts.packed(batch)

    def lean_on(self, policy: Policy) -> None:
        """Go on from these weights, which were published as this version, instead of our own; see `Trainer.lean_on`."""
        self._trainer.lean_on(policy.state)
        self._policy = None

    def replay(self, context: Context) -> dict[str, int]:
        """The next version again, which others have published already; what was measured."""
        try:
            metrics = self._learn(context)
        except TooFew as wanted:
            raise WorkFailed(f"what version {self.version + 1} was made from: {wanted}") from None
        self._policy = None
        if self._is_saved(self.version):
            self._trainer.policy = self.policy.manifest.state
            self._trainer.save(self.folder)
        return metrics

    def again(self, version: int) -> Answer:
        """The answer for a version that was made before, when its first telling got lost."""
        return self._outbox.answer(version) if self._site.is_first else Answer({}, {})

    def _learn(self, context: Context) -> dict[str, int]:
        """Grade the next batch, update, and say what happened as metrics."""
        start = time.perf_counter()
        groups = self._batch.groups(self.version, context)
        graded = time.perf_counter()
        report = self._trainer.update(groups)
        trained = time.perf_counter()
        chosen = self._chose(groups)
        return measured(report) | {
            "grade_ms": round((graded - start) * 1000),
            "train_ms": round((trained - graded) * 1000),
            **self._batch.measures(),
            "cut_prompts": sum(self._prompts.is_cut(group.index) for group in groups),
            **chosen,
        }

    def _chose(self, groups: Sequence[Group]) -> dict[str, int]:
        """The tasks of the next batch, by what these earned; how many there were to choose from, as metrics."""
        if self._curriculum is None:
            return {}
        self._curriculum.learned({group.index: group.rewards for group in groups})
        self._trainer.notes = self._curriculum.notes()
        return self._curriculum.measures()

    def _more(self, wanted: TooFew, folder: Path) -> Answer:
        """There is no new version yet: the prompts of further groups, and what still is the newest."""
        files = {"manifest": folder / "manifest"}
        if self._site.is_first:
            files["manifest"].write_bytes(self.policy.manifest.to_bytes())
            files |= self._prompts.write_further(wanted.batch, wanted.before, wanted.more, folder)
        values = {"policy": self.policy.manifest.state, "metrics": {}, "more": wanted.more}
        return Answer(files, values)

    def _publish(
        self, parent: Policy | None, policy: Policy, metrics: Mapping[str, int], inputs: str | None
    ) -> Answer:
        """Write down the answer, then what was learned: a saved trainer has its answer beside it."""
        self._trainer.policy = policy.manifest.state
        version, anchored = self.version, self._is_anchored(self.version)
        files = self._outbox.begin(version) if self._site.is_first else self._outbox.files(version)
        if self._site.is_first or self._shares is not None:
            sizes, parts = self._write(files, parent, policy, is_anchor=anchored)
        if self._site.is_first:
            self._prompts.write(version, files)
            values = {"policy": policy.manifest.state, "metrics": {**metrics, **sizes}, **parts}
            saved = checkpoint_file(self.folder, version)
            beside = {"memory": saved} if self._is_published(version) else {}
            made_from = None if parent is None else parent.manifest.state, inputs
            self._outbox.finish(version, values, beside, made_from)
        if self._is_published(version):
            self._trainer.save_whole(self.folder)
        if self._is_saved(version) and not (self._site.world == 1 and self._is_published(version)):
            self._trainer.save(self.folder)
        return self.again(version)

    def _write(
        self, files: Path, parent: Policy | None, policy: Policy, *, is_anchor: bool
    ) -> tuple[dict[str, int], dict[str, int]]:
        """The version's files, whole or in parts as the recipe says; their sizes, and how many parts."""
        parts = self.recipe.run.parts
        if parts is None:
            return write_weights(files, parent, policy, is_anchor=is_anchor), {}
        try:
            if self._shares is None:
                sizes, count = write_in_parts(files, parent, policy, parts, is_anchor=is_anchor)
            else:
                pair = parent, policy
                sizes, count = write_shared(files, pair, self._shares, is_anchor=is_anchor)
        except (BadParts, CannotPart) as error:
            raise WorkFailed(f"version {policy.manifest.version} in parts: {error}") from None
        return sizes, {"parts": count}

    def _is_anchored(self, version: int) -> bool:
        run = self.recipe.run
        return version % run.anchor_every == 0 or version == run.versions

    def _is_published(self, version: int) -> bool:
        return version > 0 and version % self.recipe.run.checkpoint_every == 0

    def _is_saved(self, version: int) -> bool:
        is_last = version == self.recipe.run.versions
        return version % SAVE_EVERY == 0 or is_last or self._is_published(version)


def _wording(recipe: Recipe, tokenizer: Tokenizer) -> Wording | None:
    try:
        return wording_of_recipe(recipe, tokenizer)
    except NoPieces as error:
        raise WorkFailed(str(error)) from None
