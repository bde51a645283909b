"""The trusted side of one run of pretraining: where it stands, and what was published last.

Parts: `Merger.first` publishes version 0, `make` merges and publishes, `replay` makes again what others have published,
`again` gives an answer once more; `merged` is a merge itself, `outbox` what was made until the lab has it.
Law: version v+1 is a pure function of where version v stands, the accepted contributions and held-out text that the
secret draws; a merger that lost its memory merges again and comes out the same, bit for bit.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from archipel.model.config_files import InvalidModel, read_config
from archipel.model.directory import read_model
from archipel.model.manifest import describe
from archipel.records.canonical import canonical_json
from archipel.records.corpus import BadCorpus
from archipel.records.fields import BlobRef
from archipel.records.kinds.inner_step import InnerStepAnswer
from archipel.records.programmes.pretrain import PretrainPace
from archipel.records.recipe_pretrain import PretrainRecipe
from archipel.training.checkpoint import NoCheckpoint, checkpoint_file, latest_number, read_latest
from archipel.training.corpus.tokenising import Ids
from archipel.training.merging.commitment import (
    GateText,
    commitment,
    gate_text,
    merges_until_shown,
    secret_of_run,
)
from archipel.work.contributing import narrowed, widened
from archipel.work.going_back import note_policy
from archipel.work.held_out import Learned, gate_pool
from archipel.work.kind import Answer, Context, WorkFailed
from archipel.work.memory import same_secret
from archipel.work.merged import Outcome, Standing, merged, read_standing, restored, saved
from archipel.work.outbox import Outbox
from archipel.work.policies import Policy
from archipel.work.publishing import write_weights

log = logging.getLogger(__name__)

SAVE_EVERY = 10
"""A restart merges at most so many versions again, however seldom the run publishes its memory."""


class Merger:
    """One run in the hands of the trusted role."""

    def __init__(self, context: Context, folder: Path, told: int) -> None:
        """folder: the run's own lasting folder. told: version of the context's checkpoint, -1 for none.

        Raises:
            WorkFailed: folder, checkpoint, secret or held-out text are not this run's.
        """
        self.recipe = context.recipe_as(PretrainRecipe)
        self._pace = context.pace_as(PretrainPace)
        self.folder = folder
        self._secret = _secret_of(context)
        same_secret(folder, context.secret)
        self._outbox = Outbox(folder)
        try:
            self._config = read_config(context.model)
            self._pool = self._gate_pool(context)
        except (BadCorpus, InvalidModel) as error:
            raise WorkFailed(f"{context.run} cannot be merged here: {error}") from None
        self._standing = self._begun(context, told)
        self._policy: Policy | None = None

    @property
    def version(self) -> int:
        """Version that stands."""
        return self._standing.version

    @property
    def policy(self) -> Policy:
        """The weights of that version, as they are published."""
        if self._policy is None:
            state = narrowed(self._standing.weights)
            self._policy = Policy(state, describe(state, self.version, None))
        return self._policy

    @property
    def known_policy(self) -> str | None:
        """Its state digest, if it was computed already."""
        return None if self._policy is None else self._policy.manifest.state

    def first(self) -> Answer:
        """Publish version 0. Raises WorkFailed: its weights are no numbers."""
        for name, each in self._standing.weights.items():
            if not np.isfinite(each).all():
                raise WorkFailed(f"the run's weights are not all numbers: {name} is not finite")
        return self._publish((None, None), {}, (), None)

    def make(self, context: Context, progress: Callable[[int], None], inputs: str | None) -> Answer:
        """The next version, from accepted contributions, which are the context's inputs; or that none of them was fit. inputs: the
        digest of their list.
        """
        start = time.perf_counter()
        gate, parent = self._gate_of(self.version + 1), self.policy
        outcome = self._merged(context, gate)
        for why in outcome.whys:
            log.warning("refused: %s", why)
        tokens = count_tokens(context)
        progress(tokens)
        metrics = {
            "contributions": len(outcome.verdicts),
            "refused": sum("reason" in each for each in outcome.verdicts),
            "tokens": tokens,
            "merge_ms": round((time.perf_counter() - start) * 1000),
            **_losses(context),
        }
        if outcome.standing is None:
            return self._void(context.scratch, outcome, metrics, gate)
        self._standing, self._policy = outcome.standing, None
        return self._publish((parent, inputs), metrics, outcome.verdicts, gate)

    def replay(self, context: Context) -> None:
        """The next version again, which others have published already."""
        outcome = self._merged(context, self._gate_of(self.version + 1))
        if outcome.standing is None:
            raise WorkFailed(f"what version {self.version + 1} was made from gives nothing here")
        self._standing, self._policy = outcome.standing, None
        if self._is_saved(self.version):
            self._save()

    def again(self, version: int) -> Answer:
        """The answer for a version that was made before, when its first telling got lost."""
        return self._outbox.answer(version)

    def _merged(self, context: Context, gate: GateText | None) -> Outcome:
        def read(blob: BlobRef) -> bytes:
            return context.blobs[blob.digest].read_bytes()

        judged = None if gate is None else (gate, self._config)
        return merged(self._standing, context.inputs, read, self._pace, judged)

    def _void(
        self, folder: Path, outcome: Outcome, metrics: dict[str, int], gate: GateText | None
    ) -> Answer:
        """There is no new version. The text that scored these is shown, and scores those that come instead: who could
        learn from that has had every contribution refused before, the honest ones as well.
        """
        files = {"manifest": folder / "manifest"}
        files["manifest"].write_bytes(self.policy.manifest.to_bytes())
        if gate is not None:
            files["gate"] = folder / "gate"
            files["gate"].write_bytes(gate.to_bytes())
        values = {
            "policy": self.policy.manifest.state,
            "verdicts": list(outcome.verdicts),
            "metrics": metrics,
            "void": True,
            **self._next_gate(self.version + 1),
        }
        return Answer(files, values)

    def _publish(
        self,
        made_from: tuple[Policy | None, str | None],
        metrics: dict[str, int],
        verdicts: tuple[dict[str, object], ...],
        gate: GateText | None,
    ) -> Answer:
        """Write down the answer, then where the version stands: what is saved has its answer beside it."""
        version, files = self.version, self._outbox.begin(self.version)
        parent, inputs = made_from
        state = narrowed(self._standing.weights)
        before = None if parent is None else parent.manifest.state
        self._policy = Policy(state, describe(state, version, before))
        sizes = write_weights(files, parent, self._policy, is_anchor=self._is_anchored(version))
        if gate is not None:
            (files / "gate").write_bytes(gate.to_bytes())
        values: dict[str, object] = {
            "policy": self._policy.manifest.state,
            "verdicts": list(verdicts),
            "metrics": metrics | sizes,
            **self._next_gate(version + 1),
        }
        kept = {"memory": checkpoint_file(self.folder, version)}
        beside = kept if self._is_published(version) else {}
        self._outbox.finish(version, values, beside, (before, inputs))
        if self._is_saved(version):
            self._save()
        return self.again(version)

    def _gate_pool(self, context: Context) -> np.ndarray | None:
        if self._pace.merge.gate is None:
            return None
        if context.secret is None:
            raise WorkFailed(f"the gate of {context.run} needs its secret, which did not come")
        shards = frozenset(each.digest for each in self._pace.corpus.shards)
        pool = gate_pool(self.recipe, Learned(shards, Ids.named(str(context.model)).digest))
        merges = merges_until_shown(len(pool), self._pace.merge.gate.sequences)
        if merges < self.recipe.run.versions:
            log.warning(
                "held-out text at %s lasts for %d merges of %d; after those it scores by windows that were shown: hold more "
                "text out",
                self.recipe.merge.gate_path,
                merges,
                self.recipe.run.versions,
            )
        return pool

    def _gate_of(self, version: int) -> GateText | None:
        """The text that scores the contributions to what becomes this version; None: nothing does."""
        gate = self._pace.merge.gate
        if gate is None or self._pool is None or self._secret is None:
            return None
        if not 1 <= version <= self.recipe.run.versions:
            return None
        try:
            return gate_text(self._secret, version, self._pool, gate.sequences)
        except ValueError as error:
            raise WorkFailed(f"the gate of {self.recipe.run.name}: {error}") from None

    def _next_gate(self, version: int) -> dict[str, str]:
        """What binds the text of the merge that comes."""
        text = self._gate_of(version)
        return {} if text is None else {"next_gate": f"sha256:{commitment(text)}"}

    def _begun(self, context: Context, told: int) -> Standing:
        published = context.checkpoint
        if published is not None and told > latest_number(self.folder):
            standing = read_standing(published)
            if standing.version != told:
                raise WorkFailed(
                    f"the checkpoint is of version {standing.version}, expected {told}"
                )
            return standing
        try:
            kept = read_latest(self.folder)
        except NoCheckpoint:
            return self._initial(context)
        if kept.facts.get("recipe") != self.recipe.digest:
            raise WorkFailed(
                f"version {kept.number} in {self.folder} follows recipe {kept.facts.get('recipe')}, the run "
                f"{self.recipe.digest}; if the folder belongs to another run of this name, move it away"
            )
        return restored(kept)

    def _initial(self, context: Context) -> Standing:
        """Version 0 as it is published: rounded, so that whoever has no more than that begins with the same numbers."""
        try:
            model = read_model(context.model, torch.float32)
        except InvalidModel as error:
            raise WorkFailed(f"the first weights of {context.run}: {error}") from None
        weights = {name: each.detach().numpy() for name, each in model.named_parameters()}
        return Standing(0, widened(narrowed(weights)), {})

    def _save(self) -> None:
        note_policy(self.folder, self.version, self.policy.manifest.state)
        saved(self._standing, self.folder, {"recipe": self.recipe.digest})

    def _is_anchored(self, version: int) -> bool:
        run = self.recipe.run
        return version % run.anchor_every == 0 or version == run.versions

    def _is_published(self, version: int) -> bool:
        return version > 0 and version % self.recipe.run.checkpoint_every == 0

    def _is_saved(self, version: int) -> bool:
        is_due = version % SAVE_EVERY == 0 or version == self.recipe.run.versions
        return is_due or self._is_published(version)


def _secret_of(context: Context) -> bytes | None:
    if context.secret is None:
        return None
    return secret_of_run(context.secret, canonical_json(context.opened.model_dump(mode="json")))


def count_tokens(context: Context) -> int:
    """That the contributions in a context's inputs learned from."""
    answers = (each.answer for each in context.inputs)
    return sum(each.num_tokens for each in answers if isinstance(each, InnerStepAnswer))


def _losses(context: Context) -> dict[str, int]:
    """The mean of what members say of theirs; nobody has looked at it again."""
    said = [
        each.answer.metrics["loss_micro"]
        for each in context.inputs
        if isinstance(each.answer, InnerStepAnswer) and "loss_micro" in each.answer.metrics
    ]
    return {"loss_micro": sum(said) // len(said)} if said else {}
