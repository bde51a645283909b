"""Safetensors: a table of contents that fits its file, tensors that fill it, and numbers that are not all zero."""

import json
import math
from pathlib import Path
from typing import Any, Final

from archipel.release.openness.data_files import BadFile

MAX_TABLE_BYTES = 32 * 1024 * 1024
"""Largest table of contents that is read here: a model of some 100,000 tensors."""
MAX_ZEROS_READ = 64 * 1024 * 1024
"""A file whose first so many bytes are all zero holds no weights, or none that anybody trained."""
CHUNK_BYTES = 1024 * 1024
BITS: Final = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4, "C64": 64,
}  # fmt: skip


def look_at_safetensors(path: Path) -> str | None:
    """Check one file. Returns a remark, or None.

    Raises:
        BadFile: cut short, no table, tensors that overlap, leave gaps or do not fit their shapes, or nothing but zeros.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > MAX_TABLE_BYTES:
            raise BadFile(f"a table of contents of {size} bytes; at most {MAX_TABLE_BYTES}")
        table = file.read(size)
        if len(table) < size:
            raise BadFile("cut short in its table of contents")
        length = tensors_end(table)
        if (got := path.stat().st_size - 8 - size) != length:
            raise BadFile(f"{got} bytes of tensors; its table of contents says {length}")
        read = 0
        while (chunk := file.read(CHUNK_BYTES)) and read < MAX_ZEROS_READ:
            if chunk.strip(b"\0"):
                return None
            read += len(chunk)
    raise BadFile("nothing but zeros where weights should be")


def tensors_end(table: bytes) -> int:
    """Bytes that the tensors of a table of contents take.

    Raises:
        BadFile: it is none, it names no tensor, or they overlap, leave gaps or do not fit their shapes.
    """
    try:
        entries = json.loads(table)
        spans = sorted(_span(each) for name, each in entries.items() if name != "__metadata__")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError):
        raise BadFile("its table of contents is none") from None
    if not any(stop > start for start, stop in spans):
        raise BadFile("no tensor with a number in it")
    end = 0
    for start, stop in spans:
        if start != end:
            raise BadFile("its tensors overlap or leave gaps")
        end = stop
    return end


def _span(entry: dict[str, Any]) -> tuple[int, int]:
    start, stop = entry["data_offsets"]
    shape = entry["shape"]
    if not all(type(each) is int and 0 <= each < 2**53 for each in (start, stop, *shape)):
        raise ValueError
    if len(shape) > 32 or (stop - start) * 8 != math.prod(shape) * BITS[entry["dtype"]]:
        raise ValueError
    return start, stop
