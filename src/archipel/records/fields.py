"""The shapes that record fields may take; every bound on what a stranger may say has its name here."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
)

MAX_RECORD_BYTES = 47_000
"""No statement is larger: in its envelope it fits a tile bundle's 16-bit length (C2SP tlog-tiles)."""
MAX_GROUPS_PER_WORK = 2048
"""With the longest group numbers and names, a lease still fits a record."""
MAX_GROUPS_PER_UPDATE = 65_536
MAX_LEASES_PER_NODE = 8
MAX_KINDS = 16
MAX_FORGOTTEN = 500
MAX_MODEL_FILES = 128
MAX_TRUSTED_KEYS = 64
MAX_METRICS = 64
MAX_STOP_TOKENS = 16
MAX_PROMPT_BATCHES = 128
MAX_REASON_CHARACTERS = 500
MAX_BLOB_BYTES = 2**43
"""8 TiB: a trillion parameters in bf16, with room."""
MAX_SEQ = 2**53 - 1
MAX_WAIT_MS = 86_400_000
"""A day: no deadline is longer, and no sum of a time and a deadline leaves what a record may hold."""
MAX_PRICE_MICRO = 10**12
"""Of one unit of work: the price of the largest lease is still a `Count`."""

Did = Annotated[str, Field(pattern=r"^did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
RunName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
AskedRuns = Annotated[tuple[RunName, ...], Field(min_length=1, max_length=64)]
"""The only ones whose work somebody takes."""
WorkId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\.[0-9]{1,12}$")]
"""`<run>.<number>`; numbers are never used twice in a run."""
KindName = Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,31}$")]
"""A kind of work; one that this software does not know is never leased."""
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Reason = Annotated[str, Field(max_length=MAX_REASON_CHARACTERS)]
Fault = Literal["work", "machine", "time"]
"""Why a lease came back undone: the work itself failed (its data, its recipe, its weights), this machine
cannot do it (its memory), or the time was up."""
Count = Annotated[int, Field(ge=0, le=MAX_SEQ)]
Wait = Annotated[int, Field(ge=100, le=MAX_WAIT_MS)]
"""Milliseconds between a lease and its deadline."""
Millis = Annotated[int, Field(ge=0, le=MAX_SEQ)]
VersionNumber = Annotated[int, Field(ge=0, le=1_000_000)]
GroupIndex = Annotated[int, Field(ge=0, le=2**40)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Metrics = Annotated[
    dict[MetricName, Annotated[int, Field(ge=-MAX_SEQ, le=MAX_SEQ)]], Field(max_length=MAX_METRICS)
]
"""Measured values; a name says its unit (`_ms`, `_micro` = millionths, `_bytes`)."""


class Closed(BaseModel):
    """Frozen, strict and closed: no coercion, no unknown field."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Sparing(Closed):
    """Of the fields that need not be given, those that are None are not written: what was written before there
    was such a field has the same bytes as ever. Each is marked `LeftOut`.
    """

    @model_serializer(mode="wrap")
    def _without_nothing(self, as_usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields, written = type(self).model_fields, as_usual(self)
        return {
            name: value
            for name, value in written.items()
            if value is not None or fields[name].is_required()
        }


def _never_null(value: Any, info: ValidationInfo) -> Any:
    if value is None and info.mode == "json":
        raise ValueError("leave it out instead of writing null")
    return value


LeftOut = AfterValidator(_never_null)
"""None is not written, and null is not read: one value, one encoding."""


class BlobRef(Closed):
    """Bytes elsewhere, by name and size."""

    digest: Digest
    size: Annotated[int, Field(ge=0, le=MAX_BLOB_BYTES)]
