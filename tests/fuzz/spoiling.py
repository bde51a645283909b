"""Spoilt copies of sound bytes, drawn by a seed: a bit here, a length there, a value of another kind.

Law: the same generator and specimens give the same bytes, so a failure is a seed.
"""

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

MAX_BYTES = 1_000_000
"""No spoilt copy is larger: what larger ones cost is for tests of bounds."""
ODD_BYTES = (
    *(b"", b"\0", b"\xff" * 8, b"\x7f\xff\xff\xff", b"{", b"}", b"[" * 2000, b'"', b"\\u0000"),
    *(b"\xed\xa0\x80", b"\xef\xbb\xbf", b"NaN", b"1e999", b"-0", b"9" * 5000, b'{"a":1,"a":2}'),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**30, 1.5, 1e308),
    *(
        "",
        "a",
        "\0",
        "\u202e",
        "\ud800",
        "é" * 300,
        "x" * 100_000,
        "sha256:" + "0" * 64,
        "did:key:z",
    ),
    *([], {}, [[]], {"": None}, [None] * 1000, {"kind": "rollout"}),
)


def spoilt(random_: random.Random, specimens: Sequence[bytes]) -> bytes:
    """One of the specimens, spoilt in one to four ways."""
    data = random_.choice(specimens)
    for _ in range(random_.choice((1, 1, 1, 2, 4))):
        way: Callable[[random.Random, bytes, Sequence[bytes]], bytes] = random_.choice(WAYS)
        data = way(random_, data, specimens)
    return data[:MAX_BYTES]


def _flip(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    place = random_.randrange(len(data)) if data else 0
    return (
        data[:place] + bytes([data[place] ^ (1 << random_.randrange(8))]) + data[place + 1 :]
        if data
        else b""
    )


def _overwrite(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Four bytes as a length, small, huge or nearly right."""
    place = random_.randrange(max(len(data) - 4, 1))
    number = random_.choice((0, 1, len(data), len(data) - place, 2**31 - 1, 2**32 - 1, 2**16))
    return data[:place] + number.to_bytes(4, "little") + data[place + 4 :]


def _cut(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: random_.randrange(len(data) + 1)]


def _drop(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, stop = _span(random_, data)
    return data[:start] + data[stop:]


def _repeat(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    start, stop = _span(random_, data)
    return data[:stop] + data[start:stop] * random_.choice((1, 2, 50)) + data[stop:]


def _insert(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    place = random_.randrange(len(data) + 1)
    return data[:place] + random_.choice(ODD_BYTES) + data[place:]


def _splice(random_: random.Random, data: bytes, specimens: Sequence[bytes]) -> bytes:
    """The beginning of one, the end of another."""
    other = random_.choice(specimens)
    return data[: random_.randrange(len(data) + 1)] + other[random_.randrange(len(other) + 1) :]


def _span(random_: random.Random, data: bytes) -> tuple[int, int]:
    start = random_.randrange(len(data) + 1)
    return start, min(len(data), start + random_.choice((1, 4, 16, 256)))


def _value(random_: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Some value inside a JSON document becomes another; what is none is left as it is."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    holders = [(holder, key) for holder in _holders(document) for key in _keys(holder)]
    if not holders:
        return _dumped(random_.choice(ODD_VALUES))
    holder, key = random_.choice(holders)
    match random_.randrange(4):
        case 0 if isinstance(holder, dict):
            holder[random_.choice(("extra", "", "kind", "é"))] = random_.choice(ODD_VALUES)
        case 1:
            del holder[key]
        case 2 if isinstance(holder[key], int):
            holder[key] += random_.choice((-1, 1, 2**32))
        case _:
            holder[key] = random_.choice(ODD_VALUES)
    return _dumped(document)


def _dumped(document: Any) -> bytes:
    """Canonical, so that a reader gets further than the form."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def _holders(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value] * bool(inner) + [each for part in inner for each in _holders(part)]


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))


WAYS = (_flip, _overwrite, _cut, _drop, _repeat, _insert, _splice, _value, _value, _value)
