"""What gateway and devices say to each other over a link: headers with bounds, and rows of numbers as raw bytes.

A gateway asks and a device answers, one thing after the other; while it computes, it says that it works. Parts: the
messages; `message_of`; `packed` and `unpacked` for rows. Law: whatever does not fit its bounds ends the link; nothing
is allocated by a number that was not compared with the bytes that came.
"""

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor

from archipel.serve.pool.links import LinkLost

MAX_SLOTS = 4096
MAX_LENGTH = 1 << 20
MAX_LAYERS = 4096
MAX_ROWS = 1 << 16
MAX_WIDTH = 1 << 16
MAX_MISSING = 1000
"""Weights that are asked for at once."""
MAX_TENSOR_BYTES = 1 << 31
CHUNK_BYTES = 4 * 1024 * 1024
"""Of a weight, in one frame."""

Slot = Annotated[int, Field(strict=True, ge=0, lt=MAX_SLOTS)]
Position = Annotated[int, Field(strict=True, ge=0, lt=MAX_LENGTH)]
Layer = Annotated[int, Field(strict=True, ge=0, le=MAX_LAYERS)]
Count = Annotated[int, Field(strict=True, ge=0, lt=1 << 53)]
Words = Annotated[str, Field(max_length=512)]
Printed = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,512}$")]
"""On the gateway's screen, so without a terminal's commands."""
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Range = tuple[Layer, Layer]
Slots = Annotated[tuple[Slot, ...], Field(max_length=MAX_SLOTS)]
Positions = Annotated[tuple[Position, ...], Field(max_length=MAX_SLOTS)]
NumberType = Literal["float32", "bfloat16", "int16", "int64"]

_DTYPES: dict[NumberType, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int16": torch.int16,
    "int64": torch.int64,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class Message(BaseModel):
    """Closed: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Hello(Message):
    """A device says what it is, first of all."""

    say: Literal["hello"] = "hello"
    name: Printed
    memory_bytes: Count
    """What it gives to layers and their cache."""
    threads: Annotated[int, Field(strict=True, ge=1, le=4096)]
    arithmetic: Printed
    """What bits depend on beside the weights: version of the tensor library, kind of processor."""


class Hold(Message):
    """Have these layers; the payload says of which model, and which bytes (`said_passes.Holding`)."""

    say: Literal["hold"] = "hold"
    layers: Range
    numbers: Words
    """"float32", "bfloat16", or the name of a variant of the exact contract."""
    min_rows: Annotated[int, Field(strict=True, ge=1, le=4096)]


class Held(Message):
    """Nothing is missing, and the layers are there; or these weights are, and perhaps more."""

    say: Literal["held"] = "held"
    missing: Annotated[tuple[Words, ...], Field(max_length=MAX_MISSING)] = ()


class Weight(Message):
    """The payload is a part of a weight that was missing."""

    say: Literal["weight"] = "weight"
    digest: Digest
    size: Annotated[int, Field(strict=True, ge=1, le=MAX_TENSOR_BYTES)]
    start: Count


class Have(Message):
    """A cache of so many slots and positions for every range that is held; nothing is answered."""

    say: Literal["have"] = "have"
    num_slots: Annotated[int, Field(strict=True, ge=1, le=MAX_SLOTS)]
    length: Annotated[int, Field(strict=True, ge=1, le=MAX_LENGTH)]
    rows: Annotated[int, Field(strict=True, ge=0, le=MAX_SLOTS)]
    layers: Range | None = None
    """Of this range alone."""


class Move(Message):
    """Sequences change slots, with this many positions; nothing is answered."""

    say: Literal["move"] = "move"
    sources: Slots
    targets: Slots
    length: Position


class Drop(Message):
    """These layers are held no more, or none are; nothing is answered."""

    say: Literal["drop"] = "drop"
    layers: Range | None = None


class SaidNext(Message):
    """See `engine.passing.Next`."""

    kind: Literal["next"] = "next"
    positions: Positions
    written: Position | Positions
    """One where all rows stand there."""


class SaidBlock(Message):
    """See `engine.passing.Block`."""

    kind: Literal["block"] = "block"
    slots: Annotated[tuple[Slots, ...], Field(max_length=MAX_SLOTS, min_length=1)]
    lengths: Positions
    start: Position


class SaidAgain(Message):
    """See `engine.passing.Again`."""

    kind: Literal["again"] = "again"
    slots: Slots
    positions: Positions


class Rows(Message):
    """The payload is rows of numbers."""

    say: Literal["rows"] = "rows"
    dtype: NumberType
    shape: Annotated[
        tuple[Annotated[int, Field(strict=True, ge=0, le=MAX_ROWS)], ...],
        Field(min_length=2, max_length=2),
    ]


class Through(Message):
    """Take rows, which are the payload, through these layers, one range after the other."""

    say: Literal["through"] = "through"
    what: Annotated[SaidNext | SaidBlock | SaidAgain, Field(discriminator="kind")]
    ranges: Annotated[tuple[Range, ...], Field(min_length=1, max_length=MAX_LAYERS)]
    rows: Rows
    only: Slots | None = None
    """Of a `next`: the rows that came, and that are wanted; the others mean nothing, and are as the first of these."""
    is_fed: bool = False
    """After the last layer by the exact contract: wanted are the integers and scales that the head is fed."""
    is_told: bool = True
    """Whether the rows that come out are wanted, or only that it is done."""


class Text(Message):
    """Read the next part of a text, whose rows are the payload, and give what comes out of these layers; a part that
    begins the text makes a cache for it, and its end forgets that.
    """

    say: Literal["text"] = "text"
    text: Count
    """Which one, by a number of the gateway's."""
    start: Position
    total: Annotated[int, Field(strict=True, ge=1, le=MAX_LENGTH)]
    """Tokens of the whole."""
    ranges: Annotated[tuple[Range, ...], Field(min_length=1, max_length=MAX_LAYERS)]
    rows: Rows


class Ping(Message):
    """Say that you are there."""

    say: Literal["ping"] = "ping"


class Pong(Message):
    """I am."""

    say: Literal["pong"] = "pong"


class Working(Message):
    """What was asked goes on."""

    say: Literal["working"] = "working"


class Fault(Message):
    """It cannot be done, and why."""

    say: Literal["fault"] = "fault"
    why: Words


Said = (
    Hello
    | Hold
    | Held
    | Weight
    | Have
    | Move
    | Drop
    | Through
    | Text
    | Rows
    | Ping
    | Pong
    | Working
    | Fault
)
_SAID: TypeAdapter[Said] = TypeAdapter(Annotated[Said, Field(discriminator="say")])


def message_of(header: dict[str, object]) -> Said:
    """What a header says.

    Raises:
        LinkLost: it is none of the messages, or out of its bounds.
    """
    try:
        return _SAID.validate_python(header)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = shown(".".join(str(each) for each in first["loc"]))
        raise LinkLost(
            f"the other end said {str(header.get('say'))!r:.40} with {place or 'a header'}: "
            f"{first['msg']}; both ends need the same version"
        ) from None


def shown(text: str) -> str:
    """What another device says, without a terminal's commands."""
    return repr(text)[1:-1][:500]


def header_of(message: Message) -> dict[str, object]:
    """For a link."""
    return message.model_dump(mode="json")


def packed(x: Tensor) -> tuple[Rows, bytes]:
    """Rows (N, width) as they are sent: bf16 where that loses nothing."""
    x = x.detach().cpu().contiguous()
    if x.dtype == torch.float32:
        narrow = x.bfloat16()
        if torch.equal(narrow.float(), x):
            x = narrow
    data = x.view(torch.uint8).numpy().tobytes() if x.numel() else b""
    return Rows(dtype=_NAMES[x.dtype], shape=(x.shape[0], x.shape[1])), data


def unpacked(rows: Rows, payload: bytes, width: int, dtype: torch.dtype) -> Tensor:
    """Rows (N, width) in `dtype`, which holds what was sent exactly.

    Raises:
        LinkLost: another width, another number of bytes, or numbers that `dtype` does not hold.
    """
    sent = _DTYPES[rows.dtype]
    count, columns = rows.shape
    if columns != width or len(payload) != count * columns * sent.itemsize:
        raise LinkLost(
            f"rows of {count} x {columns} {rows.dtype} came in {len(payload)} bytes; expected rows of {width} numbers"
        )
    if sent != dtype and not (sent == torch.bfloat16 and dtype == torch.float32):
        raise LinkLost(f"rows of {rows.dtype} came; expected {dtype}")
    if not payload:
        return torch.empty(0, width, dtype=dtype)
    return torch.frombuffer(bytearray(payload), dtype=sent).view(count, columns).to(dtype)


def among(some: Tensor, only: tuple[int, ...], count: int) -> Tensor:
    """`count` rows, of which those named are `some`, and the others as the first of these."""
    rows = some[:1].repeat(count, 1)
    rows[list(only)] = some
    return rows
