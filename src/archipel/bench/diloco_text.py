"""The text of `bench diloco` as windows of bytes: one part to learn from, one held out, the same for every way.

Law: the windows that a member has at an inner step follow from (text, seed, step, member) alone.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HELD_OUT = 10
"""One part in so many, the last of the text."""
MAX_BYTES = 1 << 28
Windows = tuple[np.ndarray, np.ndarray]
"""Tokens and document ids, int32, each (windows, sequence_length + 1)."""


class TooShort(ValueError):
    """The text has fewer windows than the measurement needs."""


@dataclass(frozen=True)
class Text:
    """Bytes, and where they came from."""

    name: str
    data: bytes

    @property
    def digest(self) -> str:
        """Of the bytes, 16 hex digits."""
        return hashlib.sha256(self.data).hexdigest()[:16]

    def learned(self, length: int, seed: int, epoch: int) -> np.ndarray:
        """Windows (N, length + 1) to learn from, none twice, in the order of this seed and epoch; int32."""
        cut = len(self.data) - len(self.data) // HELD_OUT
        return _windows(self.data[:cut], length)[_order(cut, length, seed, epoch)]

    def held_out(self, length: int, num: int) -> Windows:
        """Windows spread evenly over the held-out part.

        Raises:
            TooShort: there are fewer.
        """
        cut = len(self.data) - len(self.data) // HELD_OUT
        found = _windows(self.data[cut:], length)
        if len(found) < num:
            raise TooShort(
                f"{self.name} holds out {len(found)} windows, expected at least {num}; give a longer text"
            )
        rows = found[np.arange(num) * len(found) // num]
        return rows, np.zeros_like(rows)


def own_text() -> Text:
    """The source of this package, in the order of its files' names: a text that is at hand everywhere."""
    root = Path(__file__).resolve().parents[1]
    parts = [path.read_bytes() for path in sorted(root.rglob("*.py"))]
    return Text("the source of this package", b"\n".join(parts))


def text_of(path: Path | None) -> Text:
    """That file, or our own text.

    Raises:
        ValueError: the file is larger than `MAX_BYTES`. OSError: it cannot be read.
    """
    if path is None:
        return own_text()
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(
            f"{path} has {size} bytes, expected at most {MAX_BYTES}; give a part of it"
        )
    return Text(path.name, path.read_bytes())


class Feed:
    """Windows by the step, without end: a new epoch in a new order once all were seen."""

    def __init__(self, text: Text, length: int, seed: int) -> None:
        self._text, self._length, self._seed = text, length, seed
        self._epochs: list[np.ndarray] = []

    def windows(self, first: int, num: int) -> Windows:
        """Windows number first to first + num, counted through all epochs.

        Raises:
            TooShort: the text has none.
        """
        per_epoch = len(self._epoch(0))
        places = range(first, first + num)
        rows = np.stack([self._epoch(at // per_epoch)[at % per_epoch] for at in places])
        return rows, np.zeros_like(rows)

    def _epoch(self, number: int) -> np.ndarray:
        while len(self._epochs) <= number:
            found = self._text.learned(self._length, self._seed, len(self._epochs))
            if not len(found):
                raise TooShort(
                    f"{self._text.name} has no window of {self._length} tokens; give a longer text"
                )
            self._epochs.append(found)
        return self._epochs[number]


def _windows(data: bytes, length: int) -> np.ndarray:
    """Windows share their last token with the next one's first: every byte but the first is predicted once."""
    tokens = np.frombuffer(data, np.uint8).astype(np.int32)
    num = max(0, (len(tokens) - 1) // length)
    starts = np.arange(num)[:, None] * length
    found: np.ndarray = tokens[starts + np.arange(length + 1)]
    return found


def _order(num_bytes: int, length: int, seed: int, epoch: int) -> np.ndarray:
    num = max(0, (num_bytes - 1) // length)
    return np.random.default_rng([seed, epoch]).permutation(num)
