"""How many fields a protobuf message has, before anything is made of them: an empty one takes two bytes on the line and
fifty in memory.

Source: the encoding of Protocol Buffers (protobuf.dev/programming-guides/encoding). Groups, which nobody sends, are
refused.
"""

from collections.abc import Iterator

from archipel.door.wire.errors import Refused

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_VARINT_BYTES = 10


def check_count(data: bytes, repeated: int, most: int, most_within: int) -> None:
    """That a message is not made of very many small ones.

    repeated: number of the field whose messages are looked into, too.
    most, most_within: fields of the whole, and of each of those.

    Raises:
        Refused: `too_large`; `malformed`: this is no protobuf.
    """
    view = memoryview(data)
    for number, content in _counted(view, most):
        if number == repeated:
            for _ in _counted(content, most_within):
                pass


def _counted(view: memoryview, most: int) -> Iterator[tuple[int, memoryview]]:
    for count, field in enumerate(fields(view)):
        if count >= most:
            raise Refused("too_large", f"more than {most} fields in one message; send less at once")
        yield field


def fields(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of each field, in their order; of a number it is empty.

    Raises:
        Refused: `malformed`.
    """
    place = 0
    while place < len(view):
        tag, place = _varint(view, place)
        kind, num_bytes = tag & 7, 0
        if kind == VARINT:
            _, place = _varint(view, place)
        elif kind == BYTES:
            num_bytes, place = _varint(view, place)
        elif kind in (FIXED64, FIXED32):
            place += 8 if kind == FIXED64 else 4
        else:
            raise _malformed()
        if place + num_bytes > len(view):
            raise _malformed()
        yield tag >> 3, view[place : place + num_bytes]
        place += num_bytes


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    """A number, and where it ends."""
    value = 0
    for shift, byte in enumerate(view[place : place + MAX_VARINT_BYTES]):
        value |= (byte & 127) << (7 * shift)
        if byte < 128:
            return value, place + shift + 1
    raise _malformed()


def _malformed() -> Refused:
    return Refused("malformed", "the body is no protobuf, or not all of it; send it again")
