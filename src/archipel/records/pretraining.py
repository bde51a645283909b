"""What the pace of a run of pretraining says: text, inner steps, payloads, merges; integers, so that it stands in a record.

Parts: `CorpusPace`, `InnerPace`, `PayloadPace`, `OuterPace`, `GatePace`, `MergePace`, and the bounds of all of them.
Law: whoever has a run's opening and its public bytes knows everything that a contribution and a merge follow from.
"""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import MAX_BLOB_BYTES, BlobRef, LeftOut, Sparing

MICRO = 1_000_000
NANO = 1_000_000_000
MAX_MEMBERS = 128
"""Contributions to one version."""
MAX_LATE = 64
"""Contributions to earlier versions that one merge takes in: with those of its own, their verdicts fit a record."""
MAX_CONTRIBUTIONS = MAX_MEMBERS + MAX_LATE
MAX_AGE = 4
"""Versions that a late contribution may be behind the one that it is merged into, beyond the usual one."""
MAX_INNER_STEPS = 100_000
"""Of one contribution."""
MAX_COMMITMENTS = 64
"""States that one contribution commits to."""
MAX_SHARDS = 256
"""Of a corpus: an opening names each of them, and is one record."""
MAX_WINDOW_TOKENS = 4_194_304
MAX_BATCH = 65_536
MAX_EPOCHS = 10_000
MAX_KEPT = 1024
"""Of 4096 values that `top_k` looks at."""

OptimiserName = Literal["adamw", "muon"]
CodecName = Literal["float32", "int8", "e3m0", "top_k"]
AggregateName = Literal["mean", "multi_krum", "median", "trimmed_mean", "centred_clip"]
Late = Literal["drop", "use"]
Micro = Annotated[int, Field(ge=0, le=MICRO)]
Size = Annotated[int, Field(ge=1, le=MAX_BLOB_BYTES)]


class CorpusPace(Sparing):
    """The text that members learn from."""

    manifest: BlobRef
    """Its digest names the corpus."""
    shards: Annotated[tuple[BlobRef, ...], Field(min_length=1, max_length=MAX_SHARDS)]
    """In the manifest's order; a work needs one of them."""
    sequence_length: Annotated[int, Field(ge=1, le=MAX_WINDOW_TOKENS)]
    """Inputs of a window, which holds one token more."""
    batch: Annotated[int, Field(ge=1, le=MAX_BATCH)]
    """Windows of one inner step."""
    epochs: Annotated[int, Field(ge=1, le=MAX_EPOCHS)]


class InnerPace(Sparing):
    """How a member trains between two outer steps."""

    optimiser: OptimiserName
    learning_rate_nano: Annotated[int, Field(ge=1, le=NANO)]
    """Peak rate, reached after warm-up; with muon that of the matrices inside the layers."""
    rest_factor_micro: Annotated[int, Field(ge=0, le=1000 * MICRO)]
    """With muon: rate of all that AdamW moves beside it, as a multiple of the peak rate."""
    warmup_steps: Annotated[int, Field(ge=0, le=MAX_INNER_STEPS)]
    schedule: Literal["constant", "linear", "cosine"]
    """Over all inner steps of the run."""
    final_micro: Micro
    """The schedule ends at this share of the peak."""
    beta1_micro: Micro
    beta2_micro: Micro
    momentum_micro: Micro
    """Of muon."""
    weight_decay_micro: Annotated[int, Field(ge=0, le=1000 * MICRO)]
    clip_micro: Annotated[int, Field(ge=1, le=1_000_000 * MICRO)]
    """Bound on the norm of the whole gradient."""
    micro_batch_tokens: Annotated[int, Field(ge=1, le=2**30)]
    """So many inputs go through the network at a time; another number adds gradients up in another order."""
    state: Literal["kept", "fresh"]
    """Whether the optimiser goes on from the member's last work, or begins anew with each."""


class PayloadPace(Sparing):
    """What a contribution is as bytes."""

    codec: CodecName
    size: Size
    """Bytes of every contribution: it follows from codec and shapes, and any other number is refused."""
    kept: Annotated[int | None, Field(ge=1, le=MAX_KEPT), LeftOut] = None
    """Values of 4096 that `top_k` sends; None: another codec."""
    feedback_micro: Annotated[int | None, Field(ge=1, le=MICRO), LeftOut] = None
    """Share of what was not sent that is carried on to the member's next contribution; None: nothing is."""


class OuterPace(Sparing):
    """How an aggregate moves the weights."""

    optimiser: Literal["nesterov", "sgd"]
    learning_rate_micro: Annotated[int, Field(ge=1, le=1000 * MICRO)]
    momentum_micro: Annotated[int, Field(ge=0, lt=MICRO)]


class GatePace(Sparing):
    """Contributions have to make held-out text likelier, which is committed to before and revealed after."""

    sequences: Annotated[int, Field(ge=1, le=65_536)]
    """Windows of held-out text that one merge looks at."""
    share_micro: Micro
    """Of the median score: who has less is refused."""
    step_micro: Annotated[int, Field(ge=1, le=1000 * MICRO)]
    """How far a contribution is followed to score it, as a multiple of itself."""


class MergePace(Sparing):
    """When contributions are merged, and which, and how."""

    aggregate: AggregateName
    faulty: Annotated[int, Field(ge=0, lt=MAX_MEMBERS)]
    """Contributions that may be anything, of which the aggregate is to take no harm."""
    clip: bool
    """Each tensor is cut to the median norm of all contributions'."""
    quorum: Annotated[int, Field(ge=1, le=MAX_MEMBERS)]
    """Contributions that are merged when the deadline has passed."""
    deadline_milli: Annotated[int, Field(ge=0, le=1_000_000)]
    """Median absolute deviations beyond the median time of a step, times 1000."""
    late: Late
    """What becomes of a contribution that comes after its merge has begun."""
    gate: Annotated[GatePace | None, LeftOut] = None
    """None: nothing is scored."""
