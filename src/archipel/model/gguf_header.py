"""What a GGUF file says before its weights: key-value pairs and where each tensor lies.

Parts: `read_header`. Source: the GGUF specification, versions 2 and 3, little-endian (ggml, docs/gguf.md).
Law: the file comes from outside. No count, length or offset in it is believed before it is held against the
bytes that are there, so reading costs no more than a multiple of the header's own size.
"""

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAGIC, VERSIONS = b"GGUF", (2, 3)
MAX_HEADER_BYTES = 256 * 1024 * 1024
"""Vocabularies of 256k words with their merges take some 15 MB."""
MAX_TENSORS, MAX_FACTS, MAX_NAME_BYTES, MAX_RANK = 65_536, 4096, 256, 4
MAX_ELEMENTS = 8_000_000
"""Of all lists together."""
MAX_ALIGNMENT, DEFAULT_ALIGNMENT = 65_536, 32
_UINT32, _STRING, _ARRAY = 4, 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # fmt: skip
_KEY = re.compile(r"[ -~]+")


class BadGguf(ValueError):
    """No GGUF file that can be read: malformed, cut short, or made in a way that is not known here."""


class CannotWrite(ValueError):
    """The model has something that a file cannot say, or that others write better."""


class NoDequantiser(RuntimeError):
    """The `gguf` library is not installed."""


@dataclass(frozen=True)
class Packing:
    """How a kind of tensor lies in the file: so many numbers in a block of so many bytes."""

    name: str
    numbers: int
    num_bytes: int


PACKINGS = {
    0: Packing("F32", 1, 4),
    1: Packing("F16", 1, 2),
    2: Packing("Q4_0", 32, 18),
    3: Packing("Q4_1", 32, 20),
    6: Packing("Q5_0", 32, 22),
    7: Packing("Q5_1", 32, 24),
    8: Packing("Q8_0", 32, 34),
    12: Packing("Q4_K", 256, 144),
    13: Packing("Q5_K", 256, 176),
    14: Packing("Q6_K", 256, 210),
    30: Packing("BF16", 1, 2),
}
"""By the number that stands in the file (ggml.h, `ggml_type`)."""


@dataclass(frozen=True)
class Described:
    """One tensor of the file."""

    name: str
    shape: tuple[int, ...]
    """As torch says it: the slowest dimension first."""
    packing: Packing
    start: int
    """Of its bytes, from the file's first."""

    @property
    def num_bytes(self) -> int:
        """Of its bytes."""
        return math.prod(self.shape) // self.packing.numbers * self.packing.num_bytes


@dataclass(frozen=True)
class Header:
    """Everything but the weights."""

    facts: Mapping[str, Any]
    """Arrays are lists."""
    tensors: Mapping[str, Described]


def read_header(data: memoryview) -> Header:
    """Read the head of a whole GGUF file.

    Raises:
        BadGguf: the message says what was found and what was expected.
    """
    cursor = _Cursor(data)
    num_tensors, num_facts = _counts(cursor)
    facts: dict[str, Any] = {}
    for _ in range(num_facts):
        key = cursor.name("a key")
        if key in facts:
            raise BadGguf(f"{key} is given twice")
        facts[key] = cursor.value(cursor.number("I"), key)
    rows: dict[str, tuple[tuple[int, ...], Packing, int]] = {}
    for _ in range(num_tensors):
        name = cursor.name("a tensor's name")
        if name in rows:
            raise BadGguf(f"tensor {name} is described twice")
        rows[name] = _row(cursor, name)
    alignment = facts.get("general.alignment", DEFAULT_ALIGNMENT)
    if not (type(alignment) is int and 8 <= alignment <= MAX_ALIGNMENT and alignment % 8 == 0):
        raise BadGguf(f"general.alignment is {alignment!r:.40}; expected a multiple of 8")
    first = cursor.at + -cursor.at % alignment
    tensors = {
        name: Described(name, shape, packing, first + offset)
        for name, (shape, packing, offset) in rows.items()
    }
    _check_places(tensors, len(data), first, alignment)
    return Header(facts, tensors)


class _Cursor:
    """A place in the file that moves forward and never past the end."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._end = min(len(data), MAX_HEADER_BYTES)
        self._elements = 0
        self.at = 0

    def take(self, count: int, what: str) -> memoryview:
        """The next bytes."""
        if count > self._end - self.at:
            raise BadGguf(
                f"{what} at byte {self.at} takes {count} bytes and {self._end - self.at} are left; "
                "the file is cut short or no GGUF: fetch it again"
            )
        self.at += count
        return self._data[self.at - count : self.at]

    def number(self, form: str) -> Any:
        """The next number, little-endian."""
        (value,) = struct.unpack("<" + form, self.take(struct.calcsize("<" + form), "a number"))
        return value

    def text(self, what: str) -> str:
        """A length and so many bytes of UTF-8."""
        data = self.take(self.number("Q"), what)
        try:
            return bytes(data).decode()
        except UnicodeDecodeError as error:
            raise BadGguf(f"{what} at byte {self.at} is not UTF-8: {error.reason}") from None

    def name(self, what: str) -> str:
        """A short text without control characters."""
        found = self.text(what)
        if len(found) > MAX_NAME_BYTES or not _KEY.fullmatch(found):
            raise BadGguf(
                f"{what} is {found!r:.60}; expected up to {MAX_NAME_BYTES} plain characters"
            )
        return found

    def value(self, kind: int, key: str) -> Any:
        """One value of this kind."""
        if kind == _STRING:
            return self.text(key)
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _NUMBERS:
            raise BadGguf(f"{key} is of kind {kind}; expected one of 0 to 12")
        return self.number(_NUMBERS[kind])

    def _array(self, key: str) -> list[Any]:
        of, count = self.number("I"), self.number("Q")
        self._elements += count
        if self._elements > MAX_ELEMENTS:
            raise BadGguf(
                f"with {key} the lists have {self._elements} elements; expected at most {MAX_ELEMENTS}"
            )
        if of == _STRING:
            self._room(count * 8, key)  # each has its length at least
            return [self.text(key) for _ in range(count)]
        if of not in _NUMBERS:
            raise BadGguf(f"{key} is a list of kind {of}; expected numbers or texts")
        size = struct.calcsize("<" + _NUMBERS[of])
        self._room(count * size, key)
        return list(struct.unpack(f"<{count}{_NUMBERS[of]}", self.take(count * size, key)))

    def _room(self, count: int, key: str) -> None:
        if count > self._end - self.at:
            raise BadGguf(
                f"{key} would take {count} bytes at least and {self._end - self.at} are left; the file is "
                "cut short or no GGUF: fetch it again"
            )


def _counts(cursor: _Cursor) -> tuple[int, int]:
    if (magic := bytes(cursor.take(4, "the first word"))) != MAGIC:
        raise BadGguf(f"the file begins with {magic!r}; expected {MAGIC!r}")
    version = cursor.number("I")
    if version not in VERSIONS:
        raise BadGguf(
            f"GGUF version {version}; expected 2 or 3, little-endian: convert the model again"
        )
    num_tensors, num_facts = cursor.number("Q"), cursor.number("Q")
    if num_tensors > MAX_TENSORS or num_facts > MAX_FACTS:
        raise BadGguf(
            f"{num_tensors} tensors and {num_facts} keys; expected at most {MAX_TENSORS} and {MAX_FACTS}"
        )
    return num_tensors, num_facts


def _row(cursor: _Cursor, name: str) -> tuple[tuple[int, ...], Packing, int]:
    rank = cursor.number("I")
    if not 1 <= rank <= MAX_RANK:
        raise BadGguf(f"tensor {name} has {rank} dimensions; expected 1 to {MAX_RANK}")
    shape = tuple(reversed([cursor.number("Q") for _ in range(rank)]))
    kind, offset = cursor.number("I"), cursor.number("Q")
    packing = PACKINGS.get(kind)
    if packing is None:
        known = ", ".join(each.name for each in PACKINGS.values())
        raise BadGguf(f"tensor {name} is quantised in way {kind}; expected one of {known}")
    if not all(shape) or shape[-1] % packing.numbers:
        raise BadGguf(
            f"tensor {name} has shape {shape}; expected rows of a multiple of {packing.numbers} for "
            f"{packing.name}"
        )
    return shape, packing, offset


def _check_places(tensors: Mapping[str, Described], size: int, first: int, alignment: int) -> None:
    """Every tensor inside the file, at its alignment, and no two in one place."""
    end, before = first, "the header"
    for tensor in sorted(tensors.values(), key=lambda each: each.start):
        if (tensor.start - first) % alignment or tensor.start < end:
            raise BadGguf(
                f"tensor {tensor.name} begins at byte {tensor.start}; expected a multiple of {alignment} "
                f"behind {before}, which ends at {end}"
            )
        end, before = tensor.start + tensor.num_bytes, tensor.name
        if end > size:
            raise BadGguf(
                f"tensor {tensor.name} ends at byte {end} of {size}; the file is cut short: fetch it again"
            )
