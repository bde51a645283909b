"""Canonical bytes: one value, one encoding.

JSON by RFC 8785 restricted to what needs no number formatting rule: objects with ASCII keys,
arrays, strings, booleans, null and integers within +-(2^53 - 1). Floats are refused, because two
languages print them differently; a record scales them to integers and names the unit.
"""

import hashlib
import json
from typing import Any

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 8785 section 3.2.2.3)."""

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
MAX_DEPTH = 32
"""Levels of nesting; the same bound on every machine, whatever its stack allows."""


class NotCanonical(ValueError):
    """A value or byte string that has no place in a record."""


def canonical_json(value: Any) -> bytes:
    """Encode `value`; equal values give equal bytes.

    Raises:
        NotCanonical: a float, an integer out of range, a non-ASCII key, half a surrogate pair,
            nesting beyond MAX_DEPTH, or another type.
    """
    try:
        _check(value, MAX_DEPTH)
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError as error:
        raise NotCanonical(f"half of a surrogate pair is no text: {error.reason}") from None


def parse_canonical(data: bytes) -> Any:
    """Decode and require that `data` is the canonical encoding of what it says.

    Raises:
        NotCanonical: not JSON, duplicate keys, or bytes that differ from the canonical ones.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotCanonical(f"not JSON: {error}") from None
    if canonical_json(value) != data:
        raise NotCanonical("JSON is not in canonical form; sort keys, drop spaces and duplicates")
    return value


def sha256_digest(data: bytes | memoryview) -> str:
    """`sha256:` and 64 lower-case hexadecimal digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _check(value: Any, depth: int) -> None:
    kind = type(value)
    if kind is str or kind is bool or value is None or isinstance(value, str):
        return
    if isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise NotCanonical(f"an integer of {value.bit_length()} bits is beyond +-(2^53 - 1)")
    elif depth == 0:
        raise NotCanonical(f"nested deeper than {MAX_DEPTH} levels")
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth - 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise NotCanonical(f"key {key!r:.40} is not an ASCII string")
            _check(item, depth - 1)
    else:
        raise NotCanonical(
            f"{type(value).__name__} has no canonical form here; scale floats to integers"
        )
