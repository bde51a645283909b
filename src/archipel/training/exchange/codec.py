"""What a pseudo-gradient is as bytes, whichever way it is compressed.

Parts: `Tensors`, `Shapes`, `CodecTerms`, `Form` (how one tensor is written), `Codec` (header and all tensors), `Decoded`;
the errors `BadContribution` (a stranger's bytes) and `CannotEncode` (our own values).
Law: the size of a payload follows from the shapes alone, so nothing is allocated by a number from the wire; one wrong
bit of form refuses the whole; the same values give the same bytes on every machine.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from archipel.training.exchange.table import Shapes, checked, table_digest

Tensors = Mapping[str, np.ndarray]
"""Names -> float32 arrays: old weights minus new ones."""

MAGIC = b"ACPG"
FORM = 1
"""Of the whole payload; another one is refused."""
HEADER = struct.Struct("<4sBBHI32s")
"""Magic, form, codec, kept per tile (0 unless top_k), number of tensors, digest of the table: 44 bytes."""
MAX_MAGNITUDE = 2.0**40
"""Of a value: squares of 2^40 such values still add up in float32, and no model's weights move so far."""
MIN_PEAK = 2.0**-100
"""A row, a block or a level of a smaller magnitude is sent as zeros: no code makes a subnormal number, which some
processes round to zero and others do not."""
MAX_KEPT = 1024
"""Of 4096: with more, four bits for every value are fewer bytes."""

CodecName = Literal["float32", "int8", "e3m0", "top_k"]
CODES: dict[CodecName, int] = {"float32": 1, "int8": 2, "e3m0": 3, "top_k": 4}


class BadContribution(ValueError):
    """Bytes that are no payload of this codec and these tensors; the message says what is wrong."""


class CannotEncode(ValueError):
    """Our own tensors cannot be sent: not finite, too large, or of another type."""


@dataclass(frozen=True)
class CodecTerms:
    """How the pseudo-gradients of a run are compressed.

    Raises:
        ValueError: an unknown codec, or a number outside its bounds.
    """

    name: CodecName
    kept: int = 64
    """Of `top_k` alone: values kept of each 4096; 1 to 1024."""
    error_feedback: float | None = None
    """Share of what was not sent that is carried to the next outer step, above 0, at most 1; None: nothing is."""

    def __post_init__(self) -> None:
        if self.name not in CODES:
            raise ValueError(f"codec {self.name!r:.40}; there are {', '.join(CODES)}")
        if not 1 <= self.kept <= MAX_KEPT:
            raise ValueError(f"kept is {self.kept}; expected 1 to {MAX_KEPT} of 4096")
        if self.error_feedback is not None and not 0 < self.error_feedback <= 1:
            raise ValueError(
                f"error_feedback is {self.error_feedback}; expected above 0, at most 1"
            )


@dataclass(frozen=True)
class Decoded:
    """What a payload says, in the shapes of the weights."""

    values: dict[str, np.ndarray]
    """Float32, finite, at most MAX_MAGNITUDE; 0 where nothing was sent."""
    sent: dict[str, np.ndarray] | None
    """Which values were sent (bool); None: all of all tensors."""


class Form(Protocol):
    """How one codec writes one tensor."""

    def size(self, shape: tuple[int, ...]) -> int:
        """Bytes of any tensor of this shape."""
        ...

    def write(self, values: np.ndarray, out: np.ndarray) -> None:
        """Finite float32 `values` into `out`, uint8 of `size` bytes, all of which are set."""
        ...

    def read(
        self, data: np.ndarray, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Values (float32) and which were sent (bool), both of `shape`, from uint8 of `size` bytes.

        Raises:
            BadContribution: bytes that `write` does not make.
        """
        ...


@dataclass(frozen=True)
class Codec:
    """Pseudo-gradients into payloads and back."""

    terms: CodecTerms
    form: Form

    def size(self, shapes: Shapes) -> int:
        """Bytes of every payload of these tensors.

        Raises:
            BadTable: shapes beyond the bounds.
        """
        return HEADER.size + sum(self.form.size(shape) for shape in checked(shapes).values())

    # A value that is no number is refused by a sentence, and does not come to numpy's warnings.
    @np.errstate(all="ignore")
    def encode(self, tensors: Tensors) -> bytes:
        """The payload: a header, then the tensors in the order of their names.

        Raises:
            CannotEncode: a tensor is not float32, not finite, or beyond MAX_MAGNITUDE.
            BadTable: shapes beyond the bounds.
        """
        shapes = shapes_of(tensors)
        out = np.zeros(self.size(shapes), np.uint8)
        out[: HEADER.size] = list(self._header(shapes))
        for name, part in self._parts(out, shapes):
            _check_sendable(name, tensors[name])
            self.form.write(tensors[name], part)
        return out.tobytes()

    @np.errstate(all="ignore")
    def decode(self, data: bytes | memoryview, shapes: Shapes) -> Decoded:
        """What a stranger's payload says of the tensors that it must be about.

        Raises:
            BadContribution: another length, header, table of tensors, or bytes that no encoder makes.
            BadTable: shapes beyond the bounds.
        """
        expected = self.size(shapes)
        if len(data) != expected:
            raise BadContribution(
                f"{len(data)} bytes, expected {expected} of {self.terms.name} for these tensors"
            )
        self._check_header(bytes(data[: HEADER.size]), shapes)
        values: dict[str, np.ndarray] = {}
        sent: dict[str, np.ndarray] = {}
        for name, part in self._parts(np.frombuffer(data, np.uint8), shapes):
            try:
                values[name], which = self.form.read(part, shapes[name])
            except BadContribution as error:
                raise BadContribution(f"tensor {name}: {error}") from None
            if which is not None:
                sent[name] = which
        return Decoded(values, sent or None)

    def _parts(self, whole: np.ndarray, shapes: Shapes) -> Iterator[tuple[str, np.ndarray]]:
        start = HEADER.size
        for name in sorted(shapes):
            end = start + self.form.size(shapes[name])
            yield name, whole[start:end]
            start = end

    def _header(self, shapes: Shapes) -> bytes:
        code, kept = CODES[self.terms.name], self.terms.kept if self.terms.name == "top_k" else 0
        return HEADER.pack(MAGIC, FORM, code, kept, len(shapes), table_digest(shapes))

    def _check_header(self, got: bytes, shapes: Shapes) -> None:
        wanted = self._header(shapes)
        if got == wanted:
            return
        pairs = zip(HEADER.unpack(got), HEADER.unpack(wanted), _WORDS, strict=True)
        for found, expected, what in pairs:
            if found != expected:
                raise BadContribution(f"{what} is {_said(found)}, expected {_said(expected)}")


_WORDS = (
    "magic",
    "form of payload",
    "codec",
    "number kept of 4096",
    "number of tensors",
    "table of names and shapes",
)


def shapes_of(tensors: Tensors) -> Shapes:
    """The table of these tensors."""
    return {name: each.shape for name, each in tensors.items()}


def _said(field: bytes | int) -> str:
    return field.hex() if isinstance(field, bytes) else str(field)


def _check_sendable(name: str, values: np.ndarray) -> None:
    if values.dtype != np.float32:
        raise CannotEncode(f"tensor {name} is {values.dtype}, expected float32")
    low, high = float(values.min()), float(values.max())
    # A NaN is both, and fails both comparisons.
    if not (low >= -MAX_MAGNITUDE and high <= MAX_MAGNITUDE):
        raise CannotEncode(
            f"tensor {name} goes from {low} to {high}, expected finite values of at most 2^40:"
            " this training diverged, send nothing and begin again from the published version"
        )


__all__ = [
    "Tensors",
    "CodecTerms",
    "Codec",
    "Decoded",
    "Form",
    "BadContribution",
    "CannotEncode",
]
