"""Audit: somebody unrelated recomputes an accepted answer and says whether it is what it should be.

The spec says which answer is looked at, not why: one that was drawn, one whose auditor is audited, or one
that was made up to see who looks. Whoever holds the lease learns that, like everybody, from the verdict.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archipel.records.fields import (
    MAX_PROMPT_BATCHES,
    BlobRef,
    Closed,
    Count,
    Digest,
    GroupIndex,
    LeftOut,
    Millis,
    Sparing,
    VersionNumber,
    WorkId,
)
from archipel.records.measures import Measured
from archipel.records.words import Needs, Told, Words, WorkAnswer, WorkSpec, publishes_nothing

Cannot = Literal["contract", "record", "weights", "calibration", "thin", "machine"]
"""Why an answer could not be recomputed: its contract is unknown here; prompts, weights and answer do not fit
together; the weights are not those that were named; the run's limits are not those of the calibration that it
names; the noise decides too few of its tokens; the auditor's machine is of another class, and the run names no distance."""
Shown = Annotated[str, Field(pattern=r"^[ -~]{1,64}$")]
"""A value, in words or as a number with its bits."""


OF_CONTRIBUTIONS = frozenset({"state", "payload", "distance"})
"""Differences that contributions of pretraining have."""
DISTANCE = "distance"
"""The figure by which they are measured: length of the difference over the length of what is right."""


class Part(Closed):
    """Which rollouts an audit recomputes (`records.audits.looked_at`)."""

    root: Digest
    """By which the answer was drawn."""
    milli: Annotated[int, Field(ge=1, le=1000)]
    """Share of each group's rollouts, in thousandths."""


class AuditSpec(WorkSpec, Sparing):
    """Recompute the answer to `work` and compare every bit."""

    kind: Literal["audit"] = "audit"
    work: WorkId
    """Whose accepted answer it is about."""
    record: Digest
    """Of the statement by which it was answered."""
    inputs: Digest
    """Of the list of that one work, its spec and its answer (`records.documents.inputs_digest`)."""
    version: VersionNumber
    policy: Digest
    """State digest of the weights that it must have been made from."""
    blobs: Annotated[tuple[BlobRef, ...], Field(max_length=MAX_PROMPT_BATCHES)]
    """What it was made from, besides weights."""
    part: Annotated[Part | None, LeftOut] = None
    """None: all of its rollouts."""


class Difference(Closed):
    """Where an answer first leaves what it should be."""

    group: GroupIndex
    """Of a contribution its index."""
    rollout: Annotated[int, Field(ge=0, lt=2**32)]
    """Of a contribution the version that it is made to."""
    position: Annotated[int, Field(ge=0, lt=2**31)]
    """In the completion, from 0; of a contribution how many inner steps were made."""
    what: Literal["token", "log-probability", "end", "fingerprint", "state", "payload", "distance"]
    """Of a run in floating point: what is further away than honest answers come. Of a contribution: the state that it
    committed to, what it sent, or how far that lies from what another class of machine makes."""
    recorded: Shown
    recomputed: Shown

    def __str__(self) -> str:
        if self.what in OF_CONTRIBUTIONS:
            return (
                f"contribution {self.group} to version {self.rollout}, after {self.position} inner steps: {self.what} "
                f"{self.recorded} was recorded, {self.recomputed} is right"
            )
        return (
            f"group {self.group}, rollout {self.rollout}, position {self.position}: {self.what} "
            f"{self.recorded} was recorded, {self.recomputed} is right"
        )


class AuditAnswer(WorkAnswer, Sparing):
    """What the auditor found."""

    kind: Literal["audit"] = "audit"
    record: Digest
    """The record that was looked at."""
    says: Literal["agree", "differs", "cannot"]
    difference: Annotated[Difference | None, LeftOut] = None
    cannot: Annotated[Cannot | None, LeftOut] = None
    measured: Annotated[Measured | None, LeftOut] = None
    """Of an answer in floating point; None: every bit was compared, or nothing."""
    positions: Count
    """Tokens that were recomputed, each with its log-probability."""
    busy_ms: Millis

    @model_validator(mode="after")
    def _says_what_it_says(self) -> Self:
        given = (self.difference is not None, self.cannot is not None)
        if given != (self.says == "differs", self.says == "cannot"):
            raise ValueError(
                f"an audit that says {self.says} with difference {given[0]}, reason {given[1]}; expected a difference "
                "with differs and a reason with cannot, and neither otherwise"
            )
        return self


def _needs(spec: AuditSpec) -> Needs:
    return Needs(weights=spec.version, blobs=spec.blobs, inputs=spec.inputs)


def _answer(spec: AuditSpec, told: Told) -> AuditAnswer:
    """From values `says`, `positions`, and perhaps `difference` (fields of `Difference`), `measured` or `cannot`."""
    found, measured = told.values.get("difference"), told.values.get("measured")
    return AuditAnswer(
        record=spec.record,
        says=told.values["says"],
        difference=None if found is None else Difference.model_validate(found),
        cannot=told.values.get("cannot"),
        measured=None if measured is None else Measured.model_validate(measured),
        positions=told.values["positions"],
        busy_ms=told.busy_ms,
    )


WORDS = Words(
    spec=AuditSpec,
    answer=AuditAnswer,
    trusted=False,
    appeals=True,
    needs=_needs,
    answer_of=_answer,
    blobs=lambda answer: (),
    publishes=publishes_nothing,
)
