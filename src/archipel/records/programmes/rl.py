"""Reinforcement learning: rollouts of strangers, updates of the trusted role, staleness at most S."""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import (
    MAX_GROUPS_PER_UPDATE,
    MAX_GROUPS_PER_WORK,
    MAX_PRICE_MICRO,
    MAX_STOP_TOKENS,
    Count,
    TokenId,
    Wait,
)
from archipel.records.recipe import MICRO, Recipe
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
        exact=sampling.contract,
        adapter=None if recipe.adapter is None else recipe.adapter.form,
    )


WORDS = ProgrammeWords(recipe=Recipe, pace=RlPace, terms_of=_terms, pace_of=_pace)
