"""What an agent and its child process say to each other: one JSON object per line over pipes.

agent -> child   setup (once), then work | position | benchmark
child -> agent   ready | progress | done | failed

Law: lines are bounded; a child's words are checked like a stranger's, because the child runs what a
stranger's lab asked for.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from archipel.records.fields import Closed, Digest
from archipel.records.statements import Pace, ResultInput, Spec

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Bound on one message; a replay of many updates is the longest."""


class BadMessage(ValueError):
    """A line that is no message; the other side is broken."""


class Setup(Closed):
    """How the child is to run."""

    scratch: str
    """The only folder it may write to, besides `memory`."""
    readable: tuple[str, ...]
    """Folders it may read."""
    memory: str | None
    threads: Annotated[int, Field(ge=1, le=1024)]
    engine: Literal["archipel", "transformers", "vllm"]
    dtype: Literal["float32", "bfloat16"]
    device: str
    max_memory_bytes: int | None
    trusted: bool
    """A trusted role's child may read the operator's data and start graders and ranks."""


class LinkMessage(Closed):
    """A policy version as files."""

    version: int
    policy: Digest
    manifest: str
    anchor: str | None
    delta: str | None


class ReplayMessage(Closed):
    """An earlier update, for a trainer that has to catch up."""

    version: int
    inputs: tuple[ResultInput, ...]


class DoWork(Closed):
    """Do this work."""

    do: Literal["work"] = "work"
    work: str
    spec: Spec
    pace: Pace
    model: str
    chain: tuple[LinkMessage, ...]
    blobs: dict[Digest, str]
    folder: str
    """The run's own folder below `memory`."""
    secret: str | None
    """Hexadecimal."""
    recipe: str | None
    inputs: tuple[ResultInput, ...]
    replay: tuple[ReplayMessage, ...]
    cpu_limit_s: int
    """Processor time it may take."""


class AskPosition(Closed):
    """Which version does the trainer of this run stand at?"""

    do: Literal["position"] = "position"
    run: str
    folder: str
    """The run's own folder below `memory`."""


class RunBenchmark(Closed):
    """Measure this machine and test the engine's batch invariance."""

    do: Literal["benchmark"] = "benchmark"


class Ready(Closed):
    """The child is up; these protections hold."""

    say: Literal["ready"] = "ready"
    protections: tuple[str, ...]


class ProgressMessage(Closed):
    """Something moved."""

    say: Literal["progress"] = "progress"
    tokens: int


class Done(Closed):
    """The answer: files by role, values for the record."""

    say: Literal["done"] = "done"
    files: dict[str, str]
    values: dict[str, Any]


class Failed(Closed):
    """The work could not be done; the child is still fit for other work."""

    say: Literal["failed"] = "failed"
    reason: str


ToChild = Annotated[DoWork | AskPosition | RunBenchmark, Field(discriminator="do")]
FromChild = Annotated[Ready | ProgressMessage | Done | Failed, Field(discriminator="say")]
_TO_CHILD: TypeAdapter[ToChild] = TypeAdapter(ToChild)
_FROM_CHILD: TypeAdapter[FromChild] = TypeAdapter(FromChild)


def to_line(message: Closed) -> bytes:
    """One line of JSON."""
    return message.model_dump_json().encode() + b"\n"


def read_setup(line: bytes) -> Setup:
    """The first line to a child.

    Raises:
        BadMessage: it is not.
    """
    try:
        return Setup.model_validate_json(line)
    except ValidationError as error:
        raise BadMessage(f"bad setup: {error}") from None


def read_to_child(line: bytes) -> ToChild:
    """Raises BadMessage."""
    try:
        return _TO_CHILD.validate_json(line)
    except ValidationError as error:
        raise BadMessage(f"bad message to child: {error}") from None


def read_from_child(line: bytes) -> FromChild:
    """Raises BadMessage."""
    try:
        return _FROM_CHILD.validate_json(line)
    except ValidationError as error:
        raise BadMessage(f"bad message from child: {error}") from None
