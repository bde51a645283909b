"""TensorBoard's event files, written without TensorBoard: framed records of protocol buffers. Pure.

A file is a sequence of records: length (u64 little-endian), masked CRC-32C of it, data, masked CRC-32C of the
data (tensorflow/core/lib/io/record_writer.h). Data is an `Event` (tensorflow/core/util/event.proto): 1 wall_time
double, 2 step int64, 3 file_version string, 5 summary {1 value {1 tag string, 2 simple_value float}}.
"""

import struct
from collections.abc import Iterable, Mapping

from archipel.curves.history import History

POLYNOMIAL = 0x82F63B78
"""Castagnoli, reflected (RFC 3720, appendix B.4)."""
MASK_DELTA = 0xA282EAD8
FILE_VERSION = b"brain.Event:2"
TRAIN, EVAL = "train/", "eval/"
"""What the tags of measurements and of evaluations begin with."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def event_file(history: History) -> bytes:
    """The whole file: the version line, then one event a version of each point and evaluation."""
    start = history.points[0].at_s if history.points else 0.0
    return first_record(start) + records(
        history, {point.version: point.at_s for point in history.points}
    )


def first_record(start_s: float) -> bytes:
    """What every file begins with."""
    return framed(_event(start_s, 0, _field(3, _BYTES, FILE_VERSION)))


def records(history: History, times: Mapping[int, float]) -> bytes:
    """A record for each point and each evaluation, to be appended. times: of versions, for their evaluations."""
    start = min(times.values(), default=0.0)
    events = []
    for point in history.points:
        scalars = _summary((f"{TRAIN}{name}", value) for name, value in point.values.items())
        events.append(_event(point.at_s, point.version, scalars))
    for exam in history.exams:
        scalars = _summary((f"{EVAL}{name}", value) for name, value in exam.values.items())
        events.append(_event(times.get(exam.version, start), exam.version, scalars))
    return b"".join(map(framed, events))


def framed(data: bytes) -> bytes:
    """One record."""
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def crc32c(data: bytes) -> int:
    """CRC-32C of the bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table() -> tuple[int, ...]:
    table = []
    for number in range(256):
        crc = number
        for _ in range(8):
            crc = (crc >> 1) ^ (POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _table()


def masked(data: bytes) -> bytes:
    """A checksum of data that holds checksums is rotated and shifted, so that it is none of them."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + MASK_DELTA) & 0xFFFFFFFF)


def _event(wall_time: float, step: int, what: bytes) -> bytes:
    return (
        _field(1, _FIXED64, struct.pack("<d", wall_time)) + _field(2, _VARINT, _varint(step)) + what
    )


def _summary(scalars: Iterable[tuple[str, float]]) -> bytes:
    values = b"".join(
        _field(
            1,
            _BYTES,
            _field(1, _BYTES, tag.encode()) + _field(2, _FIXED32, struct.pack("<f", value)),
        )
        for tag, value in scalars
    )
    return _field(5, _BYTES, values)


def _field(number: int, form: int, value: bytes) -> bytes:
    """One field; `_BYTES` are preceded by their length."""
    size = _varint(len(value)) if form == _BYTES else b""
    return _varint(number << 3 | form) + size + value


def _varint(value: int) -> bytes:
    """Seven bits a byte, lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
