"""What a crew and its members say to each other: one JSON object per line over pipes.

crew -> member   start, then load | adapt | sample
member -> crew   progress | done | rollouts | failed

Weights and adapters go by file. Law: both ends are processes of one node, of one version of this software.
"""

from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from archipel.records.cuts import Cut
from archipel.records.fields import Closed
from archipel.records.requests import Allowed, InvalidRequest, Request
from archipel.records.rollouts import Rollout
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


class Asked(Closed):
    """A request, without what has no form of its own: see `asked_of`."""

    key: str
    prompt: tuple[int, ...]
    seed: int
    num_rollouts: int
    max_new_tokens: int
    temperature: float
    stop_tokens: tuple[int, ...]
    cut: Cut | None
    allowed: tuple[int, ...] | None
    adapter: str | None
    first_rollout: int
    first_position: int
    tells_experts: bool

    def request(self) -> Request:
        """What the engine is asked."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        allowed = None if self.allowed is None else Allowed(frozenset(self.allowed))
        return Request(**(given | {"allowed": allowed}))


def asked_of(request: Request) -> Asked:
    """As it travels to another process.

    Raises:
        InvalidRequest: what ends it is found in text by an object of this process.
    """
    if request.ending is not None:
        raise InvalidRequest(
            f"request {request.key!r:.80} ends at a string; several engines do not look for those yet: start the "
            "node with --engines 1"
        )
    given = {name: getattr(request, name) for name in Asked.model_fields}
    tokens = None if request.allowed is None else tuple(sorted(request.allowed.tokens))
    return Asked(**(given | {"allowed": tokens}))


class Sample(Closed):
    """Serve these requests."""

    do: Literal["sample"] = "sample"
    requests: tuple[Asked, ...]
    cpu_s: int | None
    """Processor time it may take; None: no bound."""


class Sampled(Closed):
    """What came of the requests, in their order."""

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
