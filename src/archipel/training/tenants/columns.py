"""Arrays and what is said of them, as the bytes that travel between whoever asks for a turn and whoever does it.

A payload (`records.payload`) with a closed JSON document and four columns: int32, int64, float32 and float64 values one
after the other, in the order in which the document's parts name them. Parts: `Columns` (written), `Opened` (read).
Laws: the same values are the same bytes; what is read is bounded before it is parsed, and all of it is used.
"""

from array import array
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import numpy as np
from pydantic import ValidationError

from archipel.records.fields import Closed
from archipel.records.payload import BadPayload, Payload, read_payload, write_payload
from archipel.training.tenants.operations import Array

MAX_PAYLOAD_BYTES = 256 * 1024 * 1024
"""Of one question or answer: four times what a client may ask at once."""
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""Of what is said of the arrays."""
DOCUMENT = "document"
COLUMNS = {
    "integers": ("I32", "<i4"),
    "longs": ("U8", "<i8"),
    "floats": ("F32", "<f4"),
    "numbers": ("U8", "<f8"),
}
"""Column -> how a payload holds it, and its values."""
_CODES = {"I32": "i", "F32": "f", "U8": "B"}
_TENSORS = {DOCUMENT: "U8", **{name: held for name, (held, _) in COLUMNS.items()}}

D = TypeVar("D", bound=Closed)


class Columns:
    """Values that are put down one after the other."""

    def __init__(self) -> None:
        self._parts: dict[str, list[bytes]] = {name: [] for name in COLUMNS}

    def put(self, column: str, values: Array | Iterable[float]) -> int:
        """Add values to a column; returns how many.

        Raises:
            OverflowError: an integer that this column does not hold.
        """
        given = values if isinstance(values, np.ndarray) else np.array(list(values))
        held = given.astype(COLUMNS[column][1], casting="unsafe")
        if given.dtype.kind in "iu" and not np.array_equal(held, given):
            raise OverflowError(f"{column} cannot hold {given.tolist()[:4]}")
        self._parts[column].append(held.tobytes())
        return held.size

    def to_bytes(self, form: str, document: Closed) -> bytes:
        """With what the document, of the format `form`, says of them."""
        held = {name: (COLUMNS[name][0], b"".join(parts)) for name, parts in self._parts.items()}
        held[DOCUMENT] = ("U8", document.model_dump_json().encode())
        tensors = {}
        for name, (kind, data) in held.items():
            tensors[name] = array(_CODES[kind])
            tensors[name].frombytes(data)
        return write_payload(Payload(tensors, {"format": form}))


class Opened(Generic[D]):
    """Columns that are read from their beginnings on."""

    def __init__(self, data: bytes | memoryview, form: str, kind: type[D]) -> None:
        """kind: of the document; form: its format.

        Raises:
            BadPayload: too long, cut short, of another format, or with another document.
        """
        if len(data) > MAX_PAYLOAD_BYTES:
            raise BadPayload(f"{len(data)} bytes of {form}; expected at most {MAX_PAYLOAD_BYTES}")
        payload = read_payload(data, _TENSORS)
        found = payload.metadata.get("format", "nothing")
        if found != form:
            raise BadPayload(f"the bytes are {found!r:.60}, expected {form}")
        self.document = _document(payload.tensors[DOCUMENT], form, kind)
        self._form = form
        self._columns = {name: _values(name, payload.tensors[name]) for name in COLUMNS}
        self._taken = dict.fromkeys(COLUMNS, 0)

    def take(self, column: str, count: int) -> Array:
        """The next values of a column, read-only.

        Raises:
            BadPayload: there are fewer.
        """
        start, values = self._taken[column], self._columns[column]
        if start + count > len(values):
            raise BadPayload(
                f"{self._form} says more {column} than its {len(values)}; send it whole"
            )
        self._taken[column] = start + count
        return values[start : start + count]

    def end(self) -> None:
        """Say that all has been taken.

        Raises:
            BadPayload: something is left that the document does not speak of.
        """
        left = {n: len(v) - self._taken[n] for n, v in self._columns.items()}
        if any(left.values()):
            raise BadPayload(f"{self._form} holds values that its document does not name: {left}")


def _document(data: array, form: str, kind: type[D]) -> D:
    if len(data) > MAX_DOCUMENT_BYTES:
        raise BadPayload(
            f"a document of {len(data)} bytes in {form}; expected at most {MAX_DOCUMENT_BYTES}"
        )
    try:
        return kind.model_validate_json(data.tobytes())
    except ValidationError as error:
        first: Any = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadPayload(f"the document of {form}: {where:.80}: {first['msg']:.200}") from None


def _values(name: str, data: array) -> Array:
    dtype = np.dtype(COLUMNS[name][1])
    num_bytes = len(data) * data.itemsize
    if num_bytes % dtype.itemsize:
        raise BadPayload(f"{name} is of {num_bytes} bytes, no whole values of {dtype.itemsize}")
    if not num_bytes:
        return np.zeros(0, dtype)
    values = np.frombuffer(data, dtype)
    values.setflags(write=False)
    return values
