"""Rollout: a stranger samples every completion of some groups from one policy version."""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.engine_classes import EngineClass
from archipel.records.exact import Contract
from archipel.records.fields import (
    MAX_GROUPS_PER_WORK,
    MAX_PROMPT_BATCHES,
    BlobRef,
    Count,
    Digest,
    GroupIndex,
    LeftOut,
    Millis,
    Sparing,
    VersionNumber,
)
from archipel.records.words import Needs, Told, Words, WorkAnswer, WorkSpec, publishes_nothing


class RolloutSpec(WorkSpec, Sparing):
    """Sample `group_size` completions of each group's prompt from one policy version."""

    kind: Literal["rollout"] = "rollout"
    version: VersionNumber
    policy: Digest
    """State digest of the weights to sample from."""
    groups: Annotated[tuple[GroupIndex, ...], Field(min_length=1, max_length=MAX_GROUPS_PER_WORK)]
    prompts: Annotated[tuple[BlobRef, ...], Field(min_length=1, max_length=MAX_PROMPT_BATCHES)]
    """Prompt batches that hold these groups, in ascending order of batch number."""
    noise: Annotated[Count | None, LeftOut] = None
    """Seed of all of the run's sampling, where it was drawn from the ledger; None: it is the pace's."""


class RolloutAnswer(WorkAnswer, Sparing):
    """What was sampled; in the ledger only if every cheap check passed."""

    kind: Literal["rollout"] = "rollout"
    policy: Digest
    """State digest of the weights that were really used."""
    result: BlobRef
    num_tokens: Count
    busy_ms: Millis
    """Time the node says it computed."""
    exact: Annotated[Contract | None, LeftOut] = None
    """The exact contract it was sampled by; None: by an engine of the node's choice."""
    engine: Annotated[EngineClass | None, LeftOut] = None
    """In a run that asks for a class of engines: by which it was sampled."""


def _needs(spec: RolloutSpec) -> Needs:
    return Needs(weights=spec.version, blobs=spec.prompts)


def _answer(spec: RolloutSpec, told: Told) -> RolloutAnswer:
    """From file `rollouts`, values `policy` (the digest of the weights used), `num_tokens`, perhaps `exact` or `engine`."""
    return RolloutAnswer(
        policy=told.values["policy"],
        result=told.blobs["rollouts"],
        num_tokens=told.values["num_tokens"],
        busy_ms=told.busy_ms,
        exact=told.values.get("exact"),
        engine=told.values.get("engine"),
    )


WORDS = Words(
    spec=RolloutSpec,
    answer=RolloutAnswer,
    trusted=False,
    appeals=False,
    needs=_needs,
    answer_of=_answer,
    blobs=lambda answer: (answer.result,),
    publishes=publishes_nothing,
)
