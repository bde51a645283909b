"""What a crew and its members say to each other: one JSON object per line over pipes.

crew -> member   start, then load | adapt | sample
member -> crew   progress | done | rollouts | failed

Weights and adapters go by file. Law: both ends are processes of one node, of one version of this software.
"""

from dataclasses import fields
from typing import Annotated, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from archipel.records.cuts import Cut
from archipel.records.fields import Closed
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.records.spread import ONE_DEVICE, Spread
from archipel.work.messages import (
    MAX_LINE_BYTES,
    BadMessage,
    Done,
    Failed,
    LocalPath,
    ProgressMessage,
)


class Start(Closed):
    """Which engine to make; it has the weights of no version yet."""

    do: Literal["start"] = "start"
    model: LocalPath
    engine: Literal["archipel", "transformers", "vllm"]
    dtype: Literal["float32", "bfloat16"]
    device: str
    contract: str | None
    rank: int | None
    """Of adapters; None: whole weights."""
    threads: int
    spread: Spread = ONE_DEVICE


class Load(Closed):
    """Take these weights, or, with a name, this adapter over those that are there."""

    do: Literal["load"] = "load"
    file: LocalPath
    """safetensors; of an adapter a directory in the PEFT layout."""
    name: str | None = None


class Forget(Closed):
    """An adapter that is not needed any more."""

    do: Literal["forget"] = "forget"
    name: str


UNSAID = frozenset({"allowed", "ending", "steering", "salt", "draft"})
"""Of a request what no line can say: two of them are told apart, and nobody steers a crew; and what changes nothing of
what is sampled, whose prompt it is and what somebody guesses."""


class Part(Closed):
    """A `Request`; what it allows and ends by are places in the message's own lists."""

    key: str
    prompt: tuple[int, ...]
    seed: int
    num_rollouts: int
    max_new_tokens: int
    temperature: float
    stop_tokens: tuple[int, ...]
    cut: Cut | None
    allowed: int | None
    stop: int | None
    adapter: str | None
    first_rollout: int
    first_position: int
    tells_experts: bool
    tells_fingerprints: bool

    def request(self) -> Request:
        """The request, without those two."""
        own = {each.name for each in fields(Request)} - UNSAID
        return Request(**{name: getattr(self, name) for name in own})


class Sample(Closed):
    """Serve these requests."""

    do: Literal["sample"] = "sample"
    parts: tuple[Part, ...]
    allowed: tuple[tuple[int, ...], ...]
    stops: tuple[tuple[str, ...], ...]
    cpu_s: int | None
    """Processor time it may take; None: no bound."""


class Sampled(Closed):
    """What came of the requests, in their order."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    say: Literal["sampled"] = "sampled"
    groups: tuple[tuple[Rollout, ...], ...]


ToMember = Annotated[Start | Load | Forget | Sample, Field(discriminator="do")]
FromMember = Annotated[ProgressMessage | Done | Sampled | Failed, Field(discriminator="say")]
T = TypeVar("T")
_TO: TypeAdapter[ToMember] = TypeAdapter(ToMember)
_FROM: TypeAdapter[FromMember] = TypeAdapter(FromMember)


def read_to_member(line: bytes) -> ToMember:
    """Raises BadMessage."""
    return _read(_TO, line)


def read_from_member(line: bytes) -> FromMember:
    """Raises BadMessage."""
    return _read(_FROM, line)


def _read(form: TypeAdapter[T], line: bytes) -> T:
    if len(line) >= MAX_LINE_BYTES:
        raise BadMessage(f"a line of {MAX_LINE_BYTES} bytes or more between engines")
    try:
        return form.validate_json(line)
    except ValidationError as error:
        raise BadMessage(f"bad message between engines: {error}") from None
