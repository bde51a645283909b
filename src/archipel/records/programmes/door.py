"""A door's work by nodes of a network: questions to train tenants' adapters and to sample from them, over one model."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archipel.records.adapter import AdapterRank
from archipel.records.door import MAX_QUESTIONS, QuestionTokens
from archipel.records.fields import MAX_BLOB_BYTES, Count, Did, LeftOut, Wait
from archipel.records.recipe_door import MAX_TOKEN_PRICE_MICRO, MEGABYTE, DoorRecipe
from archipel.records.terms import ProgrammeWords, RunPace, Terms, Vocabulary

MILLION = 10**6
Bytes = Annotated[int, Field(ge=1, le=MAX_BLOB_BYTES)]
TokenPrice = Annotated[int, Field(ge=0, le=MAX_TOKEN_PRICE_MICRO)]


class DoorPace(RunPace):
    """What the lab must know to take in a door's questions and to hand them out."""

    programme: Literal["door"] = "door"
    door: Did
    """Who alone asks."""
    adapt: Literal["trusted", "staked"]
    """Who trains: the keys that the run trusts, or any node that vouches with `deposit_micro` as well."""
    deposit_micro: Annotated[Count | None, LeftOut] = None
    rank: AdapterRank
    """Of the largest adapter."""
    turn_tokens: QuestionTokens
    sample_tokens: QuestionTokens
    question_bytes: Bytes
    """Of operations or prompts."""
    answer_bytes: Bytes
    """Of outcomes."""
    state_bytes: Bytes
    """Of an adapter with all that its training goes on from."""
    queued: Annotated[int, Field(ge=1, le=MAX_QUESTIONS)]
    """Questions that are not answered, and answers that are kept: at most so many together."""
    keep_ms: Wait
    """So long an answer is kept that is not withdrawn."""
    min_deadline_ms: Wait
    slack_milli: Annotated[int, Field(ge=1000)]
    adapt_per_million_micro: TokenPrice
    """Micro-credits for a million tokens of training."""
    sample_per_million_micro: TokenPrice

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if (self.adapt == "staked") != bool(self.deposit_micro):
            raise ValueError(
                f"{self.adapt} nodes train, with a deposit of {self.deposit_micro}; a deposit goes with staked, and staked "
                "with a deposit"
            )
        given = ("exact", "engine", "adapter", "backend", "audit", "market", "charter")
        said = [name for name in given if getattr(self, name) is not None]
        if said:
            raise ValueError(f"{', '.join(said)} of a door's work, which has none")
        return self

    @property
    def lies_over(self) -> bool:
        """See `RunPace.lies_over`."""
        return True

    def adapt_micro(self, num_tokens: int) -> int:
        """What training so many tokens is paid."""
        return -(-num_tokens * self.adapt_per_million_micro // MILLION)

    def sample_micro(self, num_tokens: int) -> int:
        """What sampling so many tokens is paid."""
        return -(-num_tokens * self.sample_per_million_micro // MILLION)


def _terms(recipe: DoorRecipe) -> Terms:
    """A header as every run has one; no version is ever made."""
    return Terms(
        versions=1,
        evaluate_every=1,
        checkpoint_every=1,
        keep_versions=1,
        trusted_deadline_ms=round(recipe.lease.max_deadline_s * 1000),
    )


def _pace(recipe: DoorRecipe, vocabulary: Vocabulary) -> DoorPace:
    door, lease = recipe.door, recipe.lease
    return DoorPace(
        door=door.key,
        adapt=door.adapt,
        deposit_micro=door.deposit or None,
        rank=door.rank,
        turn_tokens=door.turn_tokens,
        sample_tokens=door.sample_tokens,
        question_bytes=door.question_mb * MEGABYTE,
        answer_bytes=door.answer_mb * MEGABYTE,
        state_bytes=door.state_mb * MEGABYTE,
        queued=door.queued,
        keep_ms=round(door.keep_s * 1000),
        min_deadline_ms=round(lease.min_deadline_s * 1000),
        slack_milli=round(lease.slack * 1000),
        adapt_per_million_micro=lease.adapt_price_micro,
        sample_per_million_micro=lease.sample_price_micro,
        purposes=recipe.run.purposes or None,
    )


WORDS = ProgrammeWords(recipe=DoorRecipe, pace=DoorPace, terms_of=_terms, pace_of=_pace)
