"""The recipe of a door's work by nodes of a network: a TOML file that defines a run, closed and total.

Every section is frozen and refuses unknown keys. The model is the one that the run is opened with; nothing is trained in
it but adapters over it, whose owners are the door's tenants.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from archipel.records.adapter import AdapterRank
from archipel.records.canonical import NotCanonical
from archipel.records.door import MAX_QUESTION_TOKENS, MAX_QUESTIONS
from archipel.records.fields import MAX_BLOB_BYTES, Did
from archipel.records.recipe_audit import MAX_DEPOSIT
from archipel.records.recipe_form import RecipeForm, RunHeader, Section

MEGABYTE = 10**6
MAX_MEGABYTES = MAX_BLOB_BYTES // MEGABYTE
Megabytes = Annotated[int, Field(ge=1, le=MAX_MEGABYTES)]
MAX_TOKEN_PRICE_MICRO = 10**9
"""Of a million tokens: the price of the largest question is still a `Count`."""
TokenPrice = Annotated[int, Field(ge=0, le=MAX_TOKEN_PRICE_MICRO)]

NOT_HERE = {
    "audit": "the door itself asks for a question to be done again, by another node",
    "market": "answers are paid by the token, at lease.adapt_price_micro and lease.sample_price_micro",
    "charter": "adapters belong to the door's tenants, and no version of a model is made",
    "model": "the model is the one that the run is opened with",
    "adapter": "each tenant says what its adapter is, within door.rank",
}
"""Sections of other programmes that mean nothing here, and what there is instead."""


class DoorRunSection(RunHeader):
    """What the run is called."""

    programme: Literal["door"]
    """What the run follows: `door`, questions of a door that nodes answer."""


class DoorSection(Section):
    """Who asks, who may answer, and how much at a time."""

    key: Did
    """Of the door, which alone asks in this run."""
    adapt: Literal["trusted", "staked"] = "trusted"
    """Who trains: the keys that the run trusts, or any node that vouches with `deposit` as well."""
    deposit: Annotated[int, Field(ge=0, le=MAX_DEPOSIT)] = 0
    """Micro-credits that a node which the run does not trust must vouch with to train; with `adapt = "staked"` alone."""
    rank: AdapterRank = 32
    """Of the largest adapter."""
    turn_tokens: Annotated[int, Field(ge=1, le=MAX_QUESTION_TOKENS)] = 1_000_000
    """Of the operations of one question to train, at most."""
    sample_tokens: Annotated[int, Field(ge=1, le=MAX_QUESTION_TOKENS)] = 1_000_000
    """Of one question to sample, prompts and completions together, at most."""
    question_mb: Megabytes = 64
    """Megabytes (10^6) of the operations or prompts of one question, at most."""
    answer_mb: Megabytes = 64
    """Megabytes of the outcomes of a question, at most."""
    state_mb: Megabytes = 4096
    """Megabytes of an adapter with its moments and gathered gradient, at most."""
    queued: Annotated[int, Field(ge=1, le=MAX_QUESTIONS)] = 1024
    """Questions that wait or are being answered, and answers that are kept: at most so many together."""
    keep_s: Annotated[float, Field(ge=0.1, le=86_400.0)] = 86_400.0
    """So long an answer is kept for a door that does not say that it has it."""


class DoorLeaseSection(Section):
    """How long a node may take, and what it is paid."""

    min_deadline_s: Annotated[float, Field(ge=0.1, le=86_400.0)] = 30.0
    """No lease has less time."""
    slack: Annotated[float, Field(ge=1.0, le=100.0)] = 4.0
    """Deadline = max(min_deadline_s, slack x the node's expected time)."""
    max_deadline_s: Annotated[float, Field(ge=0.1, le=86_400.0)] = 3600.0
    """No lease is longer."""
    adapt_price_micro: TokenPrice = 1000
    """Micro-credits for a million tokens of training."""
    sample_price_micro: TokenPrice = 1000
    """Micro-credits for a million tokens of sampling, prompts included."""


class DoorRecipe(RecipeForm):
    """A whole run of a door's work."""

    run: DoorRunSection
    door: DoorSection
    lease: DoorLeaseSection = DoorLeaseSection()

    @model_validator(mode="before")
    @classmethod
    def _only_what_works(cls, sections: Any) -> Any:
        for name, instead in NOT_HERE.items():
            if isinstance(sections, dict) and sections.get(name) is not None:
                raise ValueError(f"[{name}] is not for a door: {instead}; remove it")
        return sections

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        door, lease = self.door, self.lease
        if (door.adapt == "staked") != (door.deposit > 0):
            raise ValueError(
                f'door.adapt = "{door.adapt}" with door.deposit = {door.deposit}; a deposit goes with "staked", and '
                '"staked" with a deposit above 0'
            )
        if lease.min_deadline_s > lease.max_deadline_s:
            raise ValueError(
                f"lease.min_deadline_s = {lease.min_deadline_s:g} is more than max_deadline_s = {lease.max_deadline_s:g}; "
                "lower it"
            )
        try:
            self.canonical_bytes()
        except NotCanonical as error:
            raise ValueError(f"a value has no place in a record: {error}") from None
        return self
