"""What an agent and its child process say to each other: one JSON object per line over pipes.

agent -> child   setup (once), then work | remembered | benchmark | answer; replies, to turns
child -> agent   ready | progress | turns | done | failed

What grows with a run's length (the updates that a memory has to catch up with) goes by file, one for each.
Law: lines are bounded; a child's words are checked like a stranger's, because the child runs what a
stranger's lab asked for.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, TypeAdapter, ValidationError

from archipel.records.documents import AcceptedWork
from archipel.records.fields import (
    Closed,
    Count,
    Digest,
    Fault,
    KindName,
    TokenId,
    WorkId,
)
from archipel.records.kinds import Spec
from archipel.records.spread import ONE_DEVICE, Spread
from archipel.records.statements import RunOpened
from archipel.records.turns import Reply, Said
from archipel.work.remembered import AskRemembered, FolderName, GoBack

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Bound on one message; work made from very many answers is the longest."""
MAX_STEP_BYTES = 256 * 1024 * 1024
"""Bound on one replayed update: a lab's document of at most 64 MiB, and where its blobs lie."""

STEPS = "steps"
"""Under which name of a child's values the answers to turns stand: [tokens, is over, retells] of each episode."""

LocalPath = Annotated[Path, Field(strict=False)]
PartFiles = tuple[LocalPath, LocalPath]
Text = Annotated[bytes, Field(strict=False)]
"""Bytes that are UTF-8."""


def _from_hexadecimal(value: Any) -> Any:
    return bytes.fromhex(value) if isinstance(value, str) else value


Hexadecimal = Annotated[
    bytes, BeforeValidator(_from_hexadecimal), PlainSerializer(bytes.hex, return_type=str)
]
"""Any bytes; hexadecimal on the pipe."""


class BadMessage(ValueError):
    """A line that is no message; the other side is broken."""


class Setup(Closed):
    """How the child is to run."""

    kinds: tuple[KindName, ...]
    """Kinds of work that it may be asked for."""
    scratch: LocalPath
    """The only folder it may write to, besides `memory`."""
    readable: tuple[LocalPath, ...]
    """Folders it may read."""
    memory: LocalPath | None
    threads: Annotated[int, Field(ge=1, le=1024)]
    engine: Literal["archipel", "transformers", "vllm"]
    dtype: Literal["float32", "bfloat16"]
    device: str
    engines: Annotated[int, Field(ge=1, le=64)] = 1
    """Processes that sample side by side, each on a device of its own where there are several."""
    spread: Spread = ONE_DEVICE
    max_memory_bytes: int | None
    max_lasting_bytes: int | None = None
    """All that runs may leave in `memory` together, where they are strangers'; None: the trusted role's has no bound."""
    max_file_bytes: int | None = None
    """Largest file it may write; all that it writes together is no more either."""
    trusted: bool
    """A trusted role's child may start graders and ranks."""
    network: bool = False
    """It may reach the network: an environment that answers turns needs a service."""


class LinkMessage(Closed):
    """A policy version as files: how to get there from its parent, or from nothing."""

    version: int
    policy: Digest
    """State digest."""
    manifest: LocalPath
    anchor: LocalPath | None
    delta: LocalPath | None
    parts: tuple[PartFiles, ...] | None = None
    """Of a version in parts, whose manifest is an index: of each, in order, its manifest, and its anchor or delta."""


class ReplayMessage(Closed):
    """An earlier update, for a trainer that has to catch up."""

    version: int
    file: LocalPath
    """Holds a `ReplayStep`."""


class ReplayStep(Closed):
    """What an earlier update was made from."""

    inputs: tuple[AcceptedWork, ...]
    blobs: dict[Digest, LocalPath]
    """Digest -> file, each verified by whoever fetched it."""


class Materials(Closed):
    """What lies ready on this machine for one piece of work."""

    work: WorkId
    opened: RunOpened
    """How the run was opened: its terms and its pace."""
    model: LocalPath
    """Directory with config.json and the tokenizer (and the initial weights, for the trusted role)."""
    chain: tuple[LinkMessage, ...]
    """Versions to apply, in order, to reach the one that the spec names."""
    blobs: dict[Digest, LocalPath]
    """Digest -> file, each verified by whoever fetched it."""
    secret: Hexadecimal | None
    """What only the trusted role knows."""
    recipe: Text | None
    """Canonical bytes; only the trusted role needs them."""
    inputs: tuple[AcceptedWork, ...]
    """Accepted answers that the work is made from."""
    replay: tuple[ReplayMessage, ...]
    """Earlier updates, for a memory that has to catch up."""
    checkpoint: LocalPath | None
    """A memory to start from, when the worker's own is older or gone; the spec says its version."""
    back: GoBack | None = None
    """What this machine remembers beyond that is set aside before anything is made; None: all of it is confirmed."""


class DoWork(Materials):
    """Do this work."""

    do: Literal["work"] = "work"
    spec: Spec
    folder: FolderName
    """The run's own folder below `memory`."""
    cpu_limit_s: int
    """Processor time it may take."""


class RunBenchmark(Closed):
    """Measure this machine and test the engine's batch invariance."""

    do: Literal["benchmark"] = "benchmark"


class OpenEpisode(Closed):
    """An episode that the trusted role answers."""

    task: Count
    """Its number."""
    said: Annotated[tuple[tuple[TokenId, ...], ...], Field(min_length=1)]
    """The model's turns; the last one waits for an answer."""
    left: Count
    """Tokens that there is room for after it."""


class AnswerTurns(Closed):
    """What follows the last turn of each of these episodes of a run? Only a trusted role's child is asked."""

    do: Literal["answer"] = "answer"
    opened: RunOpened
    model: LocalPath
    secret: Hexadecimal | None
    recipe: Text
    episodes: tuple[OpenEpisode, ...]


class TurnsOver(Closed):
    """What was answered to the turns that the child asked about; None: nothing, and why."""

    do: Literal["replies"] = "replies"
    replies: tuple[Reply, ...] | None
    reason: str = ""
    fault: Fault | None = None


class Ready(Closed):
    """The child is up; these protections hold."""

    say: Literal["ready"] = "ready"
    protections: tuple[str, ...]


class ProgressMessage(Closed):
    """The work at hand has come this far."""

    say: Literal["progress"] = "progress"
    tokens: int
    """Sampled or learned from since it began."""


class AskTurns(Closed):
    """What follows these turns? The work at hand waits for it."""

    say: Literal["turns"] = "turns"
    said: tuple[Said, ...]


class Done(Closed):
    """The answer: files by role, values for the record."""

    say: Literal["done"] = "done"
    files: dict[str, LocalPath]
    values: dict[str, Any]


class Failed(Closed):
    """The work could not be done; the child is still fit for other work."""

    say: Literal["failed"] = "failed"
    reason: str
    fault: Fault | None = "work"
    """None: the disk's, so nobody's."""


ToChild = DoWork | AskRemembered | RunBenchmark | AnswerTurns | TurnsOver
FromChild = Annotated[
    Ready | ProgressMessage | AskTurns | Done | Failed, Field(discriminator="say")
]
_TO_CHILD: TypeAdapter[ToChild] = TypeAdapter(Annotated[ToChild, Field(discriminator="do")])
_FROM_CHILD: TypeAdapter[FromChild] = TypeAdapter(Annotated[FromChild, Field(discriminator="say")])


def to_line(message: Closed) -> bytes:
    """One line of JSON."""
    return message.model_dump_json().encode() + b"\n"


def write_step(file: Path, step: ReplayStep) -> None:
    """Lay an earlier update ready.

    Raises:
        OSError: the disk is full or not writable.
    """
    file.write_bytes(step.model_dump_json().encode())


def read_step(file: Path) -> ReplayStep:
    """What `write_step` wrote.

    Raises:
        BadMessage: it did not.
    """
    with file.open("rb") as opened:
        data = opened.read(MAX_STEP_BYTES + 1)
    if len(data) > MAX_STEP_BYTES:
        raise BadMessage(f"{file} is of more than {MAX_STEP_BYTES} bytes")
    try:
        return ReplayStep.model_validate_json(data)
    except ValidationError as error:
        raise BadMessage(f"{file} is no update to replay: {error}") from None


def read_setup(line: bytes) -> Setup:
    """The first line to a child. Raises BadMessage."""
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
