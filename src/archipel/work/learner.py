"""The trusted side of one run: environment, grader and trainer, and what they have published last.

Parts: `Learner.make` grades a batch, updates and answers with the new version; `accepted` reads the
results, `prompts` makes the tasks, `memory` finds where to start, `outbox` holds what was made, `grades`
what it was made from.
Law: version v+1 is a pure function of version v and the accepted results of batch v, so a learner that
lost its memory replays the results and comes out the same, bit for bit; rewards come from the
environment here and from nowhere else.
"""

import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from archipel.model.backends import read_any_config
from archipel.model.devices import CPU
from archipel.model.manifest import describe
from archipel.model.tokenizer import Tokenizer
from archipel.model.versions import encode_anchor, encode_delta
from archipel.records.recipe import Recipe
from archipel.records.rollouts import Rollout
from archipel.training.answers import answer_metrics
from archipel.training.batch import Group
from archipel.training.checkpoint import checkpoint_file
from archipel.training.curriculum import Curriculum, NotChosen, shown_as
from archipel.training.environments.environment import make_environment
from archipel.training.episodes import conduct_of, is_void
from archipel.training.grading import GraderUnavailable, Submission, grader_of
from archipel.training.groups import submissions
from archipel.training.sharding import share_bytes, this_site
from archipel.work.accepted import SampledGroup, batch_groups
from archipel.work.episodes import upheld, upholding
from archipel.work.grades import NOTHING, BatchGrades, Earned, Grades, columns, earned_of
from archipel.work.kind import Answer, Context, WorkFailed
from archipel.work.measured import MICRO, measured
from archipel.work.memory import same_secret, started_trainer
from archipel.work.outbox import Outbox
from archipel.work.policies import Policy
from archipel.work.prompts import LOOKING_LIMIT_S, Prompts
from archipel.work.start_check import Subject, at_start

log = logging.getLogger(__name__)
VOID = "%s: group %d, rollout %d says what the environment did not: void, reward 0"

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
        limit = self.recipe.sampling.max_new_tokens
        self._check, self._void = upholding(self._conduct, context.opened, limit), 0
        self._outbox = Outbox(folder)
        self._trainer = trainer = started_trainer(context, self.recipe, folder, told, device)
        try:
            self._curriculum = Curriculum.of(self.recipe, trainer.notes, trainer.version)
        except NotChosen as error:
            raise WorkFailed(f"the learner's checkpoint cannot be gone on from: {error}") from None
        self._pool = Prompts(self.recipe, environment, self._tokenizer, context_tokens)
        self._prompts = self._pool
        if self._curriculum is not None:
            chosen = self._curriculum.over(environment)
            self._prompts = Prompts(self.recipe, chosen, self._tokenizer, context_tokens)
        self._grader = grader_of(self.recipe, context.secret, folder)
        self._grades = Grades(folder)
        self._parts: Mapping[str, float] = {}
        self._policy: Policy | None = None
        self._answers: list[Submission] = []

    @property
    def version(self) -> int:
        """Version that the trainer stands at."""
        return self._trainer.version

    @property
    def policy(self) -> Policy:
        """The weights of that version as this machine computed them. A collective."""
        if self._policy is None:
            state = self._trainer.published_state()
            self._policy = Policy(state, describe(state, self.version, None, self._trainer.over))
        return self._policy

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
        for name, tensor in (*self.policy.state.items(), *self._trainer.frozen()):
            if not torch.isfinite(tensor).all():
                raise WorkFailed(f"the run's weights are not all numbers: {name} is not finite")
        if self._site.world == 1:  # nodes compare for themselves
            self._compare()
        return self._publish(None, self.policy, {})

    def _compare(self) -> None:
        """Engine and trainer on the first prompts. Raises WorkFailed."""
        first = [self._prompts.request(index) for index in self._prompts.batch(0)]
        state, adapter = self.policy.state, self.policy.adapter
        if adapter is not None:
            state = {name: weight.bfloat16() for name, weight in self._trainer.frozen()}
        subject = Subject(self._config, state, adapter, self._trainer.scorer)
        at_start(subject, self.recipe.sampling.contract, first)

    def make(self, context: Context) -> Answer:
        """The next version, from the accepted results of its batch, which are the context's inputs."""
        parent = self.policy
        metrics = self._learn(context) | self._answered()
        state = self._trainer.published_state()
        manifest = describe(state, self.version, parent.manifest.state, self._trainer.over)
        self._policy = Policy(state, manifest)
        return self._publish(parent, self._policy, metrics)

    def replay(self, context: Context) -> None:
        """The next version again, which others have published already."""
        self._learn(context)
        self._policy = None
        if self._is_saved(self.version):
            self._trainer.save(self.folder)

    def again(self, version: int) -> Answer:
        """The answer for a version that was made before, when its first telling got lost."""
        return self._outbox.answer(version) if self._site.is_first else Answer({}, {})

    def _learn(self, context: Context) -> dict[str, int]:
        """Grade the next batch, update, and say what happened as metrics."""
        start = time.perf_counter()
        groups = self._graded(context)
        graded = time.perf_counter()
        report = self._trainer.update(groups)
        trained = time.perf_counter()
        chosen = self._chose(groups)
        return measured(report) | {
            "grade_ms": round((graded - start) * 1000),
            "train_ms": round((trained - graded) * 1000),
            **{f"{name}_micro": round(mean * MICRO) for name, mean in self._parts.items()},
            "grading_faults": sum(self._grader.faults.values()),
            "cut_prompts": sum(self._prompts.is_cut(group.index) for group in groups),
            **chosen,
            **({} if self._conduct is None else {"void_episodes": self._void}),
        }

    def _chose(self, groups: Sequence[Group]) -> dict[str, int]:
        """The tasks of the next batch, by what these earned; how many there were to choose from, as metrics."""
        if self._curriculum is None:
            return {}
        self._curriculum.learned({group.index: group.rewards for group in groups})
        self._trainer.notes = self._curriculum.notes()
        return self._curriculum.measures()

    def _publish(self, parent: Policy | None, policy: Policy, metrics: Mapping[str, int]) -> Answer:
        """Write down the answer, then what was learned: a saved trainer has its answer beside it."""
        version = self.version
        if self._site.is_first:
            files = self._outbox.begin(version)
            sizes = self._write_weights(files, parent, policy)
            self._prompts.write(version, files)
            values = {"policy": policy.manifest.state, "metrics": {**metrics, **sizes}}
            saved = checkpoint_file(self.folder, version)
            beside = {"memory": saved} if self._is_published(version) else {}
            self._outbox.finish(version, values, beside)
        if self._is_saved(version):
            self._trainer.save(self.folder)
        return self.again(version)

    def _write_weights(self, files: Path, parent: Policy | None, policy: Policy) -> dict[str, int]:
        """Manifest, delta and, at every K-th version, anchor; their sizes as metrics."""
        state, manifest = policy.state, policy.manifest
        sizes = {"full_bytes": manifest.num_bytes}
        (files / "manifest").write_bytes(manifest.to_bytes())
        if parent is not None:
            delta = encode_delta(parent.state, state, parent.manifest, manifest)
            sizes["delta_bytes"] = (files / "delta").write_bytes(delta)
        run = self.recipe.run
        if self.version % run.anchor_every == 0 or self.version == run.versions:
            sizes["anchor_bytes"] = (files / "anchor").write_bytes(encode_anchor(state))
        return sizes

    def _is_published(self, version: int) -> bool:
        return version > 0 and version % self.recipe.run.checkpoint_every == 0

    def _is_saved(self, version: int) -> bool:
        is_due = version % SAVE_EVERY == 0 or version == self.recipe.run.versions
        return is_due or self._is_published(version)

    def _graded(self, context: Context) -> list[Group]:
        sent = batch_groups(self._prompts.batch(self.version), context)
        sampled = {
            index: (version, self._upheld(index, rollouts, context))
            for index, (version, rollouts) in sent.items()
        }
        self._void = sum(is_void(each) for _, rollouts in sampled.values() for each in rollouts)
        self._answers = shown = shown_as(self._curriculum, self._shown(sampled))
        earned = iter(self._earned(shown))
        groups = []
        for index, (version, rollouts) in sampled.items():
            own = [next(earned) if self._counts(index, each) else NOTHING for each in rollouts]
            prompt, rewards = self._prompts.request(index).prompt, tuple(each[0] for each in own)
            parts = columns([each[1] for each in own])
            groups.append(Group(index, prompt, tuple(rollouts), rewards, version, parts))
        return groups

    def _shown(self, sampled: Mapping[int, SampledGroup]) -> list[Submission]:
        turns_of = None if self._conduct is None else self._conduct.turns
        return [
            submission
            for index, (_, rollouts) in sampled.items()
            for submission in submissions(
                index,
                [each for each in rollouts if self._counts(index, each)],
                self._tokenizer,
                turns_of,
            )
        ]

    def _counts(self, index: int, rollout: Rollout) -> bool:
        return not self._prompts.is_cut(index) and not is_void(rollout)

    def _upheld(self, index: int, rollouts: list[Rollout], context: Context) -> list[Rollout]:
        """The group's rollouts, with episodes void that the environment did not write as they say."""

        def tell(number: int) -> None:
            works = ", ".join(
                e.work for e in context.inputs if index in getattr(e.spec, "groups", ())
            )
            log.warning(VOID, works, index, number)

        return upheld(self._check, index, rollouts, tell)

    def _answered(self) -> dict[str, int]:
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

    def _earned(self, shown: list[Submission]) -> Sequence[Earned]:
        """Graded once, by the first rank, for all ranks: a time limit must not part them."""
        site, told = self._site, b""
        if site.world == 1:
            return earned_of(self._graded_once(shown))
        try:
            if site.is_first:
                told = json.dumps(earned_of(self._graded_once(shown))).encode()
        finally:
            told = share_bytes(told, site)
        if not told:
            raise WorkFailed("the first rank could not grade; its log says why")
        return [(float(reward), parts) for reward, parts in json.loads(told)]

    def _graded_once(self, shown: list[Submission]) -> BatchGrades:
        version = self.version + 1
        grades = self._grades.of(version, shown)
        if grades is None:
            grades = BatchGrades.of(self._grader.graded(shown))
            self._grades.keep(version, shown, grades)
        self._parts = grades.parts
        return grades
