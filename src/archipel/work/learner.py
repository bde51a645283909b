"""The trusted side of one run: environment, grader and trainer, and what they remember on disk.

Parts: `batch_groups` reads accepted results, `Learner.learn` grades and updates, `Learner.publish`
writes the new version and the next prompts. Law: version v+1 is a pure function of version v and the
accepted results of batch v, so a learner that lost its memory replays the results and comes out the
same, bit for bit; rewards come from the environment here and from nowhere else.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from archipel.model.directory import read_model
from archipel.model.manifest import Manifest, describe
from archipel.model.tokenizer import Tokenizer
from archipel.model.versions import encode_anchor, encode_delta
from archipel.records.recipe import Recipe, recipe_from_canonical
from archipel.records.rollouts import Rollout, bounds_of, pack_prompts, unpack_rollouts
from archipel.records.statements import ResultInput
from archipel.training.batch import Group
from archipel.training.checkpoint import NoCheckpoint
from archipel.training.environments.environment import make_environment
from archipel.training.grading import Grader, Submission
from archipel.training.groups import group_request, submissions
from archipel.training.report import UpdateReport
from archipel.training.sharding import share_bytes, this_site
from archipel.training.trainer import Trainer
from archipel.work.kind import Answer, Context, WorkFailed

CHECKPOINT_EVERY = 10
"""Versions between checkpoints; what lies between is replayed."""
MICRO = 1_000_000


class Learner:
    """One run in the hands of the trusted role."""

    def __init__(self, context: Context) -> None:
        if context.recipe is None or context.memory is None:
            raise WorkFailed("update work needs the recipe and a lasting folder of its own")
        self.recipe: Recipe = recipe_from_canonical(context.recipe)
        self._site = this_site()
        self.memory = context.memory
        self.memory.mkdir(parents=True, exist_ok=True)
        self.tokenizer = Tokenizer.from_directory(context.model)
        seed, section = self.recipe.run.seed, self.recipe.environment
        self.environment = make_environment(section, seed, context.secret)
        self.grader = Grader(section, seed, context.secret)
        self.trainer = _trainer(context.model, self.memory, self.recipe)
        self._state = self.trainer.published_state()
        self._manifest = describe(self._state, self.trainer.version, None)

    @property
    def version(self) -> int:
        """Version that the trainer stands at."""
        return self.trainer.version

    @property
    def policy(self) -> str:
        """State digest of that version as this machine computed it."""
        return self._manifest.state

    def close(self) -> None:
        """End the grader."""
        self.grader.close()

    def learn(self, inputs: tuple[ResultInput, ...], context: Context) -> Mapping[str, int]:
        """Grade the next batch, update, and say what happened as metrics."""
        start = time.perf_counter()
        groups = self._graded(inputs, context)
        graded = time.perf_counter()
        report = self.trainer.update(groups)
        trained = time.perf_counter()
        faults = sum(self.grader.faults.values())
        return _metrics(report) | {
            "grade_ms": round((graded - start) * 1000),
            "train_ms": round((trained - graded) * 1000),
            "grading_faults": faults,
        }

    def publish(self, metrics: Mapping[str, int]) -> Answer:
        """Write the trainer's version into the outbox and answer from there."""
        version = self.version
        state = self.trainer.published_state()
        parent = self._manifest if version > 0 else None
        manifest = describe(state, version, parent.state if parent else None)
        if self._site.is_first:
            self._fill_outbox(version, state, manifest, metrics)
        self._state, self._manifest = state, manifest
        self._remember(version)
        return self.outbox(version)

    def _fill_outbox(
        self,
        version: int,
        state: Mapping[str, Tensor],
        manifest: Manifest,
        metrics: Mapping[str, int],
    ) -> None:
        box = self.memory / f"outbox-{version}"
        box.mkdir(exist_ok=True)
        sizes = {"full_bytes": sum(t.numel() * t.element_size() for t in state.values())}
        (box / "manifest").write_bytes(manifest.to_bytes())
        if version > 0:
            delta = encode_delta(self._state, state, self._manifest, manifest)
            sizes["delta_bytes"] = (box / "delta").write_bytes(delta)
        if self._is_anchor(version):
            sizes["anchor_bytes"] = (box / "anchor").write_bytes(encode_anchor(state))
        self._write_prompts(version, box)
        values = {
            "policy": manifest.state,
            "metrics": {**metrics, **sizes},
        }
        _write_whole(box / "values.json", json.dumps(values))

    def outbox(self, version: int) -> Answer:
        """The answer for a version that was made before (again, when its first telling got lost)."""
        if not self._site.is_first:
            return Answer({}, {})
        box = self.memory / f"outbox-{version}"
        if not (box / "values.json").is_file():
            raise WorkFailed(
                f"version {version} was made before, but its files are gone from {box}"
            )
        values: dict[str, Any] = json.loads((box / "values.json").read_text())
        own = (box / "values.json", box / "values.partial")
        files = {path.name: path for path in box.iterdir() if path not in own}
        return Answer(files, values)

    def _is_anchor(self, version: int) -> bool:
        run = self.recipe.run
        return version % run.anchor_every == 0 or version == run.versions

    def _write_prompts(self, version: int, box: Path) -> None:
        """The prompts that the staleness bound lets nodes reach once this version is out."""
        run = self.recipe.run
        first = 0 if version == 0 else version + run.max_staleness
        for batch in range(first, min(version + run.max_staleness + 1, run.versions)):
            indices = range(batch * run.groups_per_update, (batch + 1) * run.groups_per_update)
            prompts = [self._request(index).prompt for index in indices]
            (box / f"prompts-{batch}").write_bytes(pack_prompts(prompts, batch=batch))

    def _remember(self, version: int) -> None:
        """Checkpoint now and then; keep the newest two outboxes."""
        if version % CHECKPOINT_EVERY == 0 or version == self.recipe.run.versions:
            self.trainer.save(self.memory)
        old = self.memory / f"outbox-{version - 2}"
        if self._site.is_first and old.is_dir():
            for path in old.iterdir():
                path.unlink()
            old.rmdir()

    def _graded(self, inputs: tuple[ResultInput, ...], context: Context) -> list[Group]:
        size, first = (
            self.recipe.run.groups_per_update,
            self.version * self.recipe.run.groups_per_update,
        )
        sampled = batch_groups(inputs, range(first, first + size), context)
        shown = [
            submission
            for index, (_, rollouts) in sorted(sampled.items())
            for submission in submissions(index, rollouts, self.tokenizer)
        ]
        rewards = iter(self._rewards(shown))
        return [
            Group(
                index,
                self._request(index).prompt,
                tuple(rollouts),
                tuple(next(rewards) for _ in rollouts),
                version,
            )
            for index, (version, rollouts) in sorted(sampled.items())
        ]

    def _rewards(self, shown: list[Submission]) -> list[float]:
        """Graded once, by the first rank, for all ranks: a time limit must not part them."""
        site, told = self._site, b""
        try:
            if site.is_first:
                told = json.dumps(self.grader.grade(shown)).encode()
        finally:
            told = share_bytes(told, site)
        if not told:
            raise WorkFailed("the first rank could not grade; its log says why")
        return [float(reward) for reward in json.loads(told)]

    def _request(self, index: int) -> Any:
        return group_request(self.recipe, self.environment, self.tokenizer, index)


def _trainer(model: Path, memory: Path, recipe: Recipe) -> Trainer:
    """From the newest usable checkpoint; else from version 0, and everything is replayed."""
    try:
        return Trainer.restore(memory)
    except NoCheckpoint:
        return Trainer(read_model(model), recipe)


def batch_groups(
    inputs: tuple[ResultInput, ...], wanted: range, context: Context
) -> dict[int, tuple[int, list[Rollout]]]:
    """Group -> (policy version, its rollouts) for the groups of one batch, each result checked again.

    Raises:
        WorkFailed: a group is missing.
        BadPayload: a result is not what was accepted.
    """
    groups: dict[int, tuple[int, list[Rollout]]] = {}
    for each in inputs:
        data = context.blobs[each.result.digest].read_bytes()
        bounds = bounds_of(
            context.pace, work=each.work, policy=each.policy, num_groups=len(each.groups)
        )
        sampled = unpack_rollouts(data, bounds)
        for index, rollouts in zip(each.groups, sampled, strict=True):
            if index in wanted:
                groups[index] = (each.version, rollouts)
    missing = [index for index in wanted if index not in groups]
    if missing:
        raise WorkFailed(f"groups {missing[:5]} of the batch are in none of the results")
    return groups


def _write_whole(path: Path, text: str) -> None:
    """A kill leaves the file whole or absent."""
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)


def _metrics(report: UpdateReport) -> dict[str, int]:
    """Integers for the record: `_micro` are millionths, the rest are counts.

    Raises:
        WorkFailed: a value is not finite: the training has diverged.
    """
    values = asdict(report)
    del values["version"]
    named = {"reward_mean": "reward"}
    metrics = {}
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise WorkFailed(f"{name} is {value} after this update: the training has diverged")
        if isinstance(value, float):
            metrics[f"{named.get(name, name)}_micro"] = round(value * MICRO)
        else:
            metrics[name] = int(value)
    return metrics
