"""Tensors in a safetensors file: eight bytes of header length, a JSON header, the tensors' bytes and nothing else.

Laws: the header is bounded and read before anything else; the tensors lie side by side, without a gap and without
two in one place, so that every byte of the file belongs to a name. Source: huggingface/safetensors, README.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 64 * 1024 * 1024
MAX_TENSORS = 1_000_000
MAX_RANK = 16
CHUNK_BYTES = 1024 * 1024
_METADATA = "__metadata__"
_DTYPES = {
    "BF16": ("bfloat16", 2),
    "F16": ("float16", 2),
    "F32": ("float32", 4),
    "F64": ("float64", 8),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "I16": ("int16", 2),
    "I32": ("int32", 4),
    "I64": ("int64", 8),
    "BOOL": ("bool", 1),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
}
"""Name in a file -> (name in a manifest, bytes of a number)."""


class BadStored(ValueError):
    """Bytes that are no safetensors file; the message says why."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor in a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    """In bytes from the beginning of the file."""
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself."""

    tensors: tuple[Stored, ...]
    """In the order in which they lie."""
    metadata: Mapping[str, str]


def read_header(data: bytes, size: int) -> Header:
    """The header of a file of `size` bytes, of which `data` are the first: the length and the header at least.

    Raises:
        BadStored: it is none, or speaks of other bytes than there are.
    """
    length = header_length(data)
    if len(data) < LENGTH_BYTES + length or size < LENGTH_BYTES + length:
        raise BadStored(f"its header says {length} bytes, and the file has {size}: it is cut short")
    try:
        fields = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length], object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise BadStored(f"its header is no JSON: {error!s:.200}") from None
    if not isinstance(fields, dict) or len(fields) > MAX_TENSORS:
        raise BadStored(f"its header is no object of at most {MAX_TENSORS} tensors")
    metadata = fields.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise BadStored(f"its {_METADATA} is no object of texts")
    first = LENGTH_BYTES + length
    tensors = sorted(
        (_tensor(name, each, first) for name, each in fields.items()),
        key=lambda each: (each.start, each.end),
    )
    _require_side_by_side(tensors, first, size)
    return Header(tuple(tensors), metadata)


def header_length(data: bytes) -> int:
    """What the first eight bytes say.

    Raises:
        BadStored: too few bytes, or a longer header than any file has.
    """
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    if len(data) < LENGTH_BYTES or length > MAX_HEADER_BYTES:
        raise BadStored(
            f"it begins with {data[:LENGTH_BYTES].hex() or 'nothing'}; expected the length of a header of at most "
            f"{MAX_HEADER_BYTES} bytes"
        )
    return length


def header_of(path: Path) -> Header:
    """The header of a file.

    Raises:
        BadStored: see `read_header`. OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return _header_in(file, path.stat().st_size)


def digests_in(path: Path, header: Header) -> Iterator[tuple[Stored, str]]:
    """Each tensor of a file with the digest of its bytes, one after the other.

    Raises:
        BadStored: the file is shorter than its header says. OSError: it cannot be read.
    """
    with path.open("rb") as file:
        for each in header.tensors:
            file.seek(each.start)
            left, hasher = each.end - each.start, hashlib.sha256()
            while left:
                chunk = file.read(min(CHUNK_BYTES, left))
                if not chunk:
                    raise BadStored(f"it ends inside {each.name}")
                hasher.update(chunk)
                left -= len(chunk)
            yield each, f"sha256:{hasher.hexdigest()}"


def _header_in(file: BinaryIO, size: int) -> Header:
    data = file.read(LENGTH_BYTES)
    return read_header(data + file.read(header_length(data)), size)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _tensor(name: str, fields: Any, first: int) -> Stored:
    if not isinstance(fields, dict) or fields.keys() != {"dtype", "shape", "data_offsets"}:
        raise BadStored(f"{name!r:.80} needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise BadStored(f"{name!r:.80} is {dtype!r:.40}; expected one of {', '.join(_DTYPES)}")
    if not _naturals(shape, MAX_RANK) or not _naturals(offsets, 2) or len(offsets) != 2:
        raise BadStored(f"{name!r:.80} has no shape and offsets of natural numbers")
    word, width = _DTYPES[dtype]
    start, end = offsets
    if end - start != width * math.prod(shape):
        raise BadStored(
            f"{name!r:.80} lies in {end - start} bytes; its shape needs {width * math.prod(shape)}"
        )
    return Stored(name, word, tuple(shape), first + start, first + end)


def _naturals(value: Any, most: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= most
        and all(type(each) is int and 0 <= each < 2**53 for each in value)
    )


def _require_side_by_side(tensors: list[Stored], first: int, size: int) -> None:
    at = first
    for each in tensors:
        if each.start != at:
            raise BadStored(
                f"{each.name!r:.80} begins at byte {each.start}, where {at} was expected"
            )
        at = each.end
    if at != size:
        raise BadStored(f"its tensors end at byte {at}, and the file has {size}")
