"""Reinforcement learning: rollouts of strangers, updates of the trusted role, staleness at most S."""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.audits import AuditTerms
from archipel.records.cuts import MAX_TOP_K, MICRO, Cut, cut_of
from archipel.records.episodes import HOSTED, PLAYED, EpisodeTerms
from archipel.records.experts import ExpertTerms
from archipel.records.fields import (
    MAX_GROUPS_PER_UPDATE,
    MAX_GROUPS_PER_WORK,
    MAX_PRICE_MICRO,
    MAX_STOP_TOKENS,
    Count,
    LeftOut,
    TokenId,
    Wait,
)
from archipel.records.measures import Measures
from archipel.records.recipe import Recipe
from archipel.records.recipe_charter import charter_terms
from archipel.records.recipe_learning import MAX_REFILL
from archipel.records.recipe_market import market_terms
from archipel.records.recipe_sampling import MAX_STOP_STRINGS, Characters, StopString
from archipel.records.terms import ProgrammeWords, RunPace, Terms, Vocabulary


class RlPace(RunPace):
    """What the lab must know to pace rollouts."""

    programme: Literal["rl"] = "rl"
    groups_per_update: Annotated[int, Field(ge=1, le=MAX_GROUPS_PER_UPDATE)]
    group_size: Annotated[int, Field(ge=1, le=1024)]
    max_staleness: Annotated[int, Field(ge=0, le=64)]
    seed: Count
    vocab_size: Annotated[int, Field(ge=1, le=2**24)]
    max_new_tokens: Annotated[int, Field(ge=1, le=2**20)]
    temperature_micro: Annotated[int, Field(ge=1, le=10_000_000)]
    stop_tokens: Annotated[tuple[TokenId, ...], Field(max_length=MAX_STOP_TOKENS)]
    max_groups_per_lease: Annotated[int, Field(ge=1, le=MAX_GROUPS_PER_WORK)]
    min_deadline_ms: Wait
    slack_milli: Annotated[int, Field(ge=1000)]
    price_micro: Annotated[int, Field(ge=0, le=MAX_PRICE_MICRO)]
    """Micro-credits for one accepted group."""
    top_k: Annotated[int | None, Field(ge=1, le=MAX_TOP_K), LeftOut] = None
    """What is sampled from is cut (`records.cuts`); None, here and below: not by this."""
    top_p_micro: Annotated[int | None, Field(ge=1, lt=MICRO), LeftOut] = None
    min_p_micro: Annotated[int | None, Field(ge=1, lt=MICRO), LeftOut] = None
    refill: Annotated[int | None, Field(ge=1, le=MAX_REFILL), LeftOut] = None
    """Blocks of `groups_per_update` further groups that a batch may take (`records.batches`); None: none."""
    stop: Annotated[
        tuple[StopString, ...] | None, Field(min_length=1, max_length=MAX_STOP_STRINGS), LeftOut
    ] = None
    """Texts that end a completion, too."""
    allowed: Annotated[Characters | None, Field(min_length=1), LeftOut] = None
    """All characters that a completion may have; None: any."""
    episodes: Annotated[EpisodeTerms | None, LeftOut] = None
    """How episodes are played; None: each rollout is one turn."""

    noise: Annotated[Literal["drawn"] | None, LeftOut] = None
    """The seed of all sampling is drawn from the ledger once the run is open; None: it is `seed`."""
    experts: Annotated[ExpertTerms | None, LeftOut] = None
    """Rollouts say which experts their tokens were sent to, and the trainer sends them there again; None: neither."""

    @property
    def fingerprints(self) -> bool:
        """Whether rollouts bring fingerprints of the activations that they were sampled from (`records.fingerprints`)."""
        measures = None if self.audit is None else self.audit.measures
        return measures is not None and measures.fingerprints

    @property
    def cut(self) -> Cut | None:
        """What is left of the distribution; None: all of it."""
        return cut_of(self.top_k, self.top_p_micro, self.min_p_micro)

    @property
    def plays(self) -> str | None:
        """See `RunPace.plays`."""
        return None if self.episodes is None else self.episodes.environment


def _terms(recipe: Recipe) -> Terms:
    run = recipe.run
    return Terms(
        versions=run.versions,
        evaluate_every=recipe.evaluation.every,
        checkpoint_every=run.checkpoint_every,
        keep_versions=run.keep_versions,
        trusted_deadline_ms=round(recipe.lease.update_deadline_s * 1000),
    )


def _pace(recipe: Recipe, vocabulary: Vocabulary) -> RlPace:
    run, sampling, lease = recipe.run, recipe.sampling, recipe.lease
    return RlPace(
        groups_per_update=run.groups_per_update,
        group_size=run.group_size,
        max_staleness=run.max_staleness,
        seed=run.seed,
        vocab_size=vocabulary.size,
        max_new_tokens=sampling.max_new_tokens,
        temperature_micro=round(sampling.temperature * MICRO),
        stop_tokens=vocabulary.stop_tokens,
        max_groups_per_lease=lease.max_groups,
        min_deadline_ms=round(lease.min_deadline_s * 1000),
        slack_milli=round(lease.slack * 1000),
        price_micro=lease.price_micro,
        top_k=sampling.top_k or None,
        top_p_micro=round(sampling.top_p * MICRO) if sampling.top_p < 1 else None,
        min_p_micro=round(sampling.min_p * MICRO) or None,
        refill=recipe.algorithm.refill or None,
        stop=sampling.stop or None,
        allowed=sampling.allowed or None,
        exact=sampling.contract,
        engine=sampling.engine_class,
        noise="drawn" if sampling.noise == "drawn" else None,
        adapter=None if recipe.adapter is None else recipe.adapter.form,
        episodes=episode_terms(recipe),
        audit=None if sampling.contract is None else audit_terms(recipe),
        experts=_expert_terms(sampling.replays_routing, vocabulary),
        backend=None if recipe.model.backend == "archipel" else recipe.model.backend,
        charter=charter_terms(recipe.charter),
        purposes=run.purposes or None,
        market=market_terms(
            recipe.market,
            posted_micro=lease.price_micro,
            tokens_per_group=run.group_size * sampling.max_new_tokens,
        ),
    )


def audit_terms(recipe: Recipe, measures: Measures | None = None) -> AuditTerms:
    """measures: by what answers are judged that nobody could recompute to the bit."""
    audit = recipe.audit
    return AuditTerms(
        floor_micro=round(audit.floor * MICRO),
        pay_milli=round(audit.pay * 1000),
        deadline_ms=round(recipe.lease.min_deadline_s * 1000),
        window_ms=round(audit.window_s * 1000),
        stake=audit.stake,
        deposit_micro=audit.deposit or None,
        part_milli=round(audit.part * 1000) if audit.part < 1 and measures is None else None,
        measures=measures,
    )


def _expert_terms(replays: bool, vocabulary: Vocabulary) -> ExpertTerms | None:
    """Raises ValueError: the recipe asks for what this model has not."""
    if replays and vocabulary.experts is None:
        raise ValueError(
            "sampling.replays_routing is for mixtures of experts, and the model is none; leave it out"
        )
    return vocabulary.experts if replays else None


def episode_terms(recipe: Recipe) -> EpisodeTerms | None:
    """What a recipe says of episodes, as nodes are told it."""
    section, environment = recipe.episode, recipe.environment
    if section is None:
        return None
    rules = PLAYED.get(environment.name, HOSTED)
    shown = environment.parameters.items() if rules != HOSTED else ()  # nodes play without them
    retells = section.rewritten == "new_sample"
    told = {"system": recipe.prompt.system, "date": recipe.prompt.date} if retells else {}
    return EpisodeTerms(
        environment=rules,
        parameters={k: v for k, v in shown if not isinstance(v, float)},
        turns=section.turns,
        tools=section.tools,
        chat_template=recipe.prompt.chat_template,
        retells=True if retells else None,
        chooses=True if recipe.curriculum is not None else None,
        **told,
    )


WORDS = ProgrammeWords(recipe=Recipe, pace=RlPace, terms_of=_terms, pace_of=_pace)
