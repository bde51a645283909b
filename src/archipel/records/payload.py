"""Tensor payloads (safetensors) read and written without a tensor library.

The lab checks a stranger's result byte for byte but must never load torch, so this file speaks the
small part of the safetensors format that payloads need: little-endian 1-dimensional int32, float32
and uint8 tensors and a string map of metadata. A parse copies nothing before every bound held.
"""

import json
import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

MAX_HEADER_BYTES = 64 * 1024
MAX_TENSORS = 16
MAX_INTEGER = 2**48
"""Lengths and offsets beyond this are no payload of ours."""
_TYPECODES = {"I32": "i", "F32": "f", "U8": "B"}
_HEADER_ALIGNMENT = 8
_NOTHING: Mapping[str, str] = {}

type_of_code = {code: name for name, code in _TYPECODES.items()}


class BadPayload(ValueError):
    """Bytes that are not a payload of the expected form; the message says what is wrong."""


@dataclass(frozen=True)
class Payload:
    """Named 1-dimensional tensors and their metadata."""

    tensors: Mapping[str, array]
    """Type code `i` (int32), `f` (float32) or `B` (uint8)."""
    metadata: Mapping[str, str]


def write_payload(payload: Payload) -> bytes:
    """The safetensors bytes; tensors in the order of their names."""
    header: dict[str, object] = {"__metadata__": dict(sorted(payload.metadata.items()))}
    chunks, offset = [], 0
    for name, values in sorted(payload.tensors.items()):
        data = _little_endian(values).tobytes()
        header[name] = {
            "dtype": type_of_code[values.typecode],
            "shape": [len(values)],
            "data_offsets": [offset, offset + len(data)],
        }
        chunks.append(data)
        offset += len(data)
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % _HEADER_ALIGNMENT)
    return len(encoded).to_bytes(8, "little") + encoded + b"".join(chunks)


def read_payload(
    data: bytes | memoryview, expected: Mapping[str, str], optional: Mapping[str, str] = _NOTHING
) -> Payload:
    """Parse `data`, which must hold exactly the tensors in `expected` (name -> I32 | F32 | U8), and may hold those
    in `optional`.

    Raises:
        BadPayload: truncated, oversized header, gaps or overlaps, other names, types or shapes.
    """
    view = memoryview(data)
    header, body = _split(view)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise BadPayload("metadata is not a map of strings")
    kinds = {**expected, **{name: kind for name, kind in optional.items() if name in header}}
    if set(header) != set(kinds):
        found = [name[:32] for name in sorted(header)[:8]]
        raise BadPayload(f"tensors are {found}, expected {sorted(expected)}")
    spans = [_span(name, header[name], kinds[name]) for name in header]
    end = 0
    for name, start, stop in sorted(spans, key=lambda span: (span[1], span[2])):
        if start != end:
            raise BadPayload(f"tensor {name} starts at {start}, expected {end}: gap or overlap")
        end = stop
    if end != len(body):
        raise BadPayload(f"tensor data is {len(body)} bytes, the header describes {end}")
    tensors = {name: _read(body[start:stop], kinds[name]) for name, start, stop in spans}
    return Payload(tensors=tensors, metadata=metadata)


def _split(view: memoryview) -> tuple[dict[str, object], memoryview]:
    if len(view) < 8:
        raise BadPayload(f"{len(view)} bytes are too few for a header")
    length = int.from_bytes(view[:8], "little")
    if length > MAX_HEADER_BYTES or 8 + length > len(view):
        raise BadPayload(
            f"header of {length} bytes; at most {min(MAX_HEADER_BYTES, len(view) - 8)} fit"
        )
    try:
        header = json.loads(bytes(view[8 : 8 + length]))
    except (ValueError, RecursionError):
        raise BadPayload("header is not JSON") from None
    if not isinstance(header, dict) or len(header) > MAX_TENSORS + 1:
        raise BadPayload(f"header is not an object of at most {MAX_TENSORS} tensors")
    return header, view[8 + length :]


def _span(name: str, entry: object, dtype: str) -> tuple[str, int, int]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise BadPayload(f"tensor {name} needs dtype, shape and data_offsets")
    if entry["dtype"] != dtype:
        raise BadPayload(f"tensor {name} is {entry['dtype']!r:.20}, expected {dtype}")
    numbers = [*_integers(name, entry["shape"], 1), *_integers(name, entry["data_offsets"], 2)]
    length, start, stop = numbers
    if stop - start != length * array(_TYPECODES[dtype]).itemsize:
        raise BadPayload(f"tensor {name}: {stop - start} bytes for {length} values of {dtype}")
    return name, start, stop


def _integers(name: str, value: object, count: int) -> list[int]:
    if isinstance(value, list) and len(value) == count:
        numbers = [item for item in value if type(item) is int and 0 <= item < MAX_INTEGER]
        if len(numbers) == count:
            return numbers
    raise BadPayload(f"tensor {name}: expected {count} non-negative integers, got {value!r:.60}")


def _read(data: memoryview, dtype: str) -> array:
    values = array(_TYPECODES[dtype])
    values.frombytes(data)
    return _little_endian(values)


def _little_endian(values: array) -> array:
    if sys.byteorder == "little":
        return values
    swapped = array(values.typecode, values)
    swapped.byteswap()
    return swapped
