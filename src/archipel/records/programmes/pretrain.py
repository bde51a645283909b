"""Pretraining across sites: members train alone from one version, and the trusted role merges how their weights moved."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archipel.records.audits import AuditTerms
from archipel.records.fields import MAX_PRICE_MICRO, BlobRef, Count, Wait
from archipel.records.pretraining import (
    MAX_COMMITMENTS,
    MAX_INNER_STEPS,
    MAX_MEMBERS,
    MICRO,
    NANO,
    CorpusPace,
    GatePace,
    InnerPace,
    MergePace,
    OuterPace,
    PayloadPace,
)
from archipel.records.recipe_charter import charter_terms
from archipel.records.recipe_pretrain import PretrainRecipe
from archipel.records.terms import ProgrammeWords, RunPace, Terms, Vocabulary


class PretrainPace(RunPace):
    """What the lab must know to pace contributions, and members and whoever replays a merge to make them."""

    programme: Literal["pretrain"] = "pretrain"
    members: Annotated[int, Field(ge=1, le=MAX_MEMBERS)]
    seed: Count
    steps: Annotated[int, Field(ge=1, le=MAX_INNER_STEPS)]
    """Of one contribution, at most."""
    min_steps: Annotated[int, Field(ge=1, le=MAX_INNER_STEPS)]
    """Of one contribution, at least."""
    commit_every: Annotated[int, Field(ge=1, le=MAX_INNER_STEPS)]
    corpus: CorpusPace
    inner: InnerPace
    payload: PayloadPace
    outer: OuterPace
    merge: MergePace
    min_deadline_ms: Wait
    slack_milli: Annotated[int, Field(ge=1000)]
    price_micro: Annotated[int, Field(ge=0, le=MAX_PRICE_MICRO)]
    """Micro-credits for one merged contribution of `steps` steps."""

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.min_steps > self.steps or self.merge.quorum > self.members:
            raise ValueError(
                f"min_steps {self.min_steps} of {self.steps}, a quorum of {self.merge.quorum} of {self.members}; neither "
                "may be more"
            )
        if self.commitments_of(self.steps) > MAX_COMMITMENTS:
            raise ValueError(
                f"{self.commitments_of(self.steps)} commitments in {self.steps} steps; at most {MAX_COMMITMENTS}"
            )
        self._check_audits()
        return self

    def _check_audits(self) -> None:
        """Raises ValueError: nobody could make a contribution again from public bytes, or audits are of another kind."""
        audit = self.audit
        if audit is None:
            return
        if self.inner.state != "fresh" or self.payload.feedback_micro is not None:
            raise ValueError(
                f"audits of contributions that follow from what members remember (state {self.inner.state}, feedback "
                f"{self.payload.feedback_micro}); nobody could make them again"
            )
        if audit.measures is not None or audit.part_milli is not None:
            raise ValueError("contributions are made again whole, and not by measures of sampling")

    @property
    def payload_bytes(self) -> int:
        """Of every contribution."""
        return self.payload.size

    @property
    def tokens_per_step(self) -> int:
        """That one inner step learns from."""
        return self.corpus.batch * self.corpus.sequence_length

    @property
    def named_blobs(self) -> tuple[BlobRef, ...]:
        """See `RunPace.named_blobs`."""
        return (self.corpus.manifest, *self.corpus.shards)

    def commitments_of(self, steps: int) -> int:
        """States that a contribution of so many steps commits to."""
        return -(-steps // self.commit_every)


def _terms(recipe: PretrainRecipe) -> Terms:
    run = recipe.run
    return Terms(
        versions=run.versions,
        evaluate_every=recipe.evaluation.every,
        checkpoint_every=run.checkpoint_every,
        keep_versions=run.keep_versions,
        trusted_deadline_ms=round(recipe.lease.merge_deadline_s * 1000),
    )


def _pace(recipe: PretrainRecipe, vocabulary: Vocabulary) -> PretrainPace:
    run, inner, lease = recipe.run, recipe.inner, recipe.lease
    return PretrainPace(
        members=run.members,
        seed=run.seed,
        steps=inner.steps,
        min_steps=inner.min_steps or inner.steps,
        commit_every=inner.commit_every,
        corpus=_corpus(recipe, vocabulary),
        inner=_inner(recipe),
        payload=_payload(recipe, vocabulary),
        outer=OuterPace(
            optimiser=recipe.outer.optimiser,
            learning_rate_micro=round(recipe.outer.learning_rate * MICRO),
            momentum_micro=round(recipe.outer.momentum * MICRO),
        ),
        merge=_merge(recipe),
        min_deadline_ms=round(lease.min_deadline_s * 1000),
        slack_milli=round(lease.slack * 1000),
        price_micro=lease.price_micro,
        audit=_audit(recipe),
        charter=charter_terms(recipe.charter),
        purposes=recipe.run.purposes or None,
    )


def _corpus(recipe: PretrainRecipe, vocabulary: Vocabulary) -> CorpusPace:
    """Raises ValueError: nobody has looked at the text, or it is another one."""
    if vocabulary.corpus is None:
        raise ValueError(
            f"the corpus at {recipe.corpus.path} was not read; open the run where it lies"
        )
    manifest, *shards = vocabulary.corpus
    if recipe.corpus.digest not in (None, manifest.digest):
        raise ValueError(
            f"the corpus at {recipe.corpus.path} is {manifest.digest}, the recipe names {recipe.corpus.digest}; give the "
            "path of that one, or its digest"
        )
    return CorpusPace(
        manifest=manifest,
        shards=tuple(shards),
        sequence_length=recipe.corpus.sequence_length,
        batch=recipe.corpus.batch,
        epochs=recipe.corpus.epochs,
    )


def _inner(recipe: PretrainRecipe) -> InnerPace:
    inner = recipe.inner
    return InnerPace(
        optimiser=inner.optimiser,
        learning_rate_nano=round(inner.learning_rate * NANO),
        rest_factor_micro=round(inner.rest_factor * MICRO),
        warmup_steps=inner.warmup_steps,
        schedule=inner.schedule,
        final_micro=round(inner.final_fraction * MICRO),
        beta1_micro=round(inner.beta1 * MICRO),
        beta2_micro=round(inner.beta2 * MICRO),
        momentum_micro=round(inner.momentum * MICRO),
        weight_decay_micro=round(inner.weight_decay * MICRO),
        clip_micro=round(inner.clip_norm * MICRO),
        micro_batch_tokens=inner.micro_batch_tokens,
        state=inner.state,
    )


def _payload(recipe: PretrainRecipe, vocabulary: Vocabulary) -> PayloadPace:
    """Raises ValueError: nobody has said how many bytes a payload has."""
    if vocabulary.payload_bytes is None:
        raise ValueError(
            "nobody counted the bytes of a contribution; open the run where its weights lie"
        )
    exchange = recipe.exchange
    return PayloadPace(
        codec=exchange.codec,
        size=vocabulary.payload_bytes,
        kept=exchange.kept if exchange.codec == "top_k" else None,
        feedback_micro=round(exchange.feedback * MICRO) or None,
    )


def _merge(recipe: PretrainRecipe) -> MergePace:
    merge = recipe.merge
    gate = GatePace(
        sequences=merge.gate_sequences,
        share_micro=round(merge.gate_share * MICRO),
        step_micro=round(merge.gate_step * MICRO),
    )
    return MergePace(
        aggregate=merge.aggregate,
        faulty=merge.faulty,
        clip=merge.clip,
        quorum=recipe.quorum,
        deadline_milli=round(merge.deadline_mads * 1000),
        late=merge.late,
        gate=gate if merge.loss_gate else None,
    )


def _audit(recipe: PretrainRecipe) -> AuditTerms | None:
    audit = recipe.audit
    if audit is None:
        return None
    return AuditTerms(
        floor_micro=round(audit.floor * MICRO),
        pay_milli=round(audit.pay * 1000),
        deadline_ms=round(recipe.lease.min_deadline_s * 1000),
        window_ms=round(audit.window_s * 1000),
        stake=audit.stake,
        deposit_micro=audit.deposit or None,
        distance_nano=round(audit.distance * NANO) or None,
    )


WORDS = ProgrammeWords(recipe=PretrainRecipe, pace=PretrainPace, terms_of=_terms, pace_of=_pace)
