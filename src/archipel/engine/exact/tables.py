"""Tables of the exact contract, made from integers alone (clauses 9 and 10.1).

Fixed point with 128 fractional bits, in Python's integers: the same on every machine. The names of
clause 9 are kept.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from functools import cache

import numpy as np
from numpy.typing import NDArray

from archipel.model.config import DecoderConfig

ONE = 1 << 128
STEPS_PER_UNIT = 4096
"""Entries of `E` for each unit of the exponent; it ends at 16."""
SIGMOID_STEPS = 2048
SIGMOID_REACH = 16 * SIGMOID_STEPS
_DECIMALS = Context(prec=60, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True)
class Tables:
    """Clauses 9.1 to 9.3, 9.5 and the arcs of 9.4."""

    exp: NDArray[np.int32]
    """E (65537,): 2^24 exp(-i / 4096)."""
    sigmoid: NDArray[np.float32]
    """S (65537,): of (i - 32768) / 2048."""
    coarse: NDArray[np.float64]
    """A (32768,): exp(-i / 1024)."""
    fine: NDArray[np.float64]
    """B (1024,): exp(-i / 2^20)."""
    ln: NDArray[np.float64]
    """L (1024,): ln(1 + (2 j + 1) / 2048)."""
    ln2: float
    arcs: tuple[NDArray[np.int32], ...]
    """Three of (2, count): cosines and sines in units of 2^-30."""

    def digests(self) -> dict[str, str]:
        """SHA-256 of each table, by its name (10.1)."""
        parts: dict[str, list[NDArray]] = {
            "E": [self.exp], "S": [self.sigmoid], "A": [self.coarse], "B": [self.fine],
            "L": [self.ln], "arcs": list(self.arcs),
        }  # fmt: skip
        return {name: _digest(arrays) for name, arrays in parts.items()}


@cache
def tables() -> Tables:
    """All of them; a fifth of a second, once for a process."""
    falling = powers(STEPS_PER_UNIT, 16 * STEPS_PER_UNIT + 1)
    exp = [(p + (1 << 103)) >> 104 for p in falling]
    exp[-1] = 0
    halves = falling[::2]
    rising = [ONE / (ONE + p) for p in halves]
    sigmoid = [p / (ONE + p) for p in reversed(halves[1:])] + rising
    return Tables(
        exp=np.array(exp, dtype=np.int32),
        sigmoid=np.array(sigmoid, dtype=np.float64).astype(np.float32),
        coarse=np.array([p / ONE for p in powers(1 << 10, 1 << 15)]),
        fine=np.array([p / ONE for p in powers(1 << 20, 1 << 10)]),
        ln=np.array([2 * atanh(2 * j + 1, 4097 + 2 * j) / ONE for j in range(1024)]),
        ln2=2 * atanh(1, 3) / ONE,
        arcs=(arc(11, 2048), arc(22, 2048), arc(32, 1024)),
    )


def rotary_table(config: DecoderConfig, length: int) -> NDArray[np.float32]:
    """Cosines and sines (2, length, D / 2) of positions 0 .. length-1 (9.4)."""
    steps = np.array([step % (1 << 64) for step in _steps(config)], dtype=np.uint64)
    turns = (np.arange(length, dtype=np.uint64)[:, None] * steps) >> np.uint64(32)
    places = [turns >> np.uint64(21), (turns >> np.uint64(10)) & np.uint64(2047)]
    places.append(turns & np.uint64(1023))
    first, second, third = (
        arc_2K.astype(np.int64)[:, place.astype(np.int64)]
        for arc_2K, place in zip(tables().arcs, places, strict=True)
    )
    turned = _times(_times(first, second), third)
    return ((turned + (1 << 9)) >> 10).astype(np.float32) * np.float32(2.0**-20)


def exp_down(n: int) -> int:
    """exp(-1 / n) in units of `ONE`."""
    term, total = ONE, ONE
    for k in _until_nothing_is_left():
        term //= n * k
        if not term:
            return total
        total += -term if k % 2 else term
    raise AssertionError("a series of shrinking terms ended before its terms did")


def powers(n: int, count: int) -> list[int]:
    """exp(-i / n) for i below `count`, in units of `ONE`."""
    factor, power, found = exp_down(n), ONE, []
    for _ in range(count):
        found.append(power)
        power = power * factor >> 128
    return found


def circle(bits: int) -> tuple[int, int]:
    """Cosine and sine of one 2^bits-th of a turn, in units of `ONE`."""
    x, term, cosine, sine = 2 * pi() >> bits, ONE, ONE, 0
    for k in _until_nothing_is_left():
        term = term * x // (ONE * k)
        if not term:
            break
        signed = -term if k % 4 in (2, 3) else term
        cosine, sine = (cosine, sine + signed) if k % 2 else (cosine + signed, sine)
    return cosine, sine


def arc(bits: int, count: int) -> NDArray[np.int32]:
    """Cosines and sines (2, count) of multiples of one 2^bits-th of a turn, in units of 2^-30."""
    c, s = circle(bits)
    cosine, sine, found = ONE, 0, []
    for _ in range(count):
        found.append(((cosine + (1 << 97)) >> 98, (sine + (1 << 97)) >> 98))
        cosine, sine = (cosine * c - sine * s) >> 128, (sine * c + cosine * s) >> 128
    return np.array(found, dtype=np.int32).T.copy()


@cache
def pi() -> int:
    """Pi in units of `ONE`."""
    return 16 * _arctan(5) - 4 * _arctan(239)


def atanh(a: int, b: int) -> int:
    """Area tangent of a / b in units of `ONE`."""
    power = (ONE * a) // b
    total = power
    for k in _until_nothing_is_left():
        power = power * a * a // (b * b)
        if not power:
            break
        total += power // (2 * k + 1)
    return total


def _arctan(n: int) -> int:
    power = ONE // n
    total = power
    for k in _until_nothing_is_left():
        power //= n * n
        if not power:
            break
        total += -(power // (2 * k + 1)) if k % 2 else power // (2 * k + 1)
    return total


def _until_nothing_is_left() -> Iterator[int]:
    """Count terms of a series that shrink by a factor; a thousand are far more than any needs."""
    return iter(range(1, 1000))


def _steps(config: DecoderConfig) -> list[int]:
    """By how many 2^-64 turns each pair of a head moves on with a position."""
    d, turn = _DECIMALS, _DECIMALS.divide(Decimal(2 * pi()), Decimal(ONE))
    log = d.ln(Decimal(config.rope_theta))
    steps = []
    for pair in range(config.head_dim // 2):
        exponent = d.divide(d.multiply(log, Decimal(-2 * pair)), Decimal(config.head_dim))
        frequency = _stretched(config, d.exp(exponent), turn)
        turns = d.multiply(d.divide(frequency, turn), Decimal(1 << 64))
        steps.append(int(d.add(turns, Decimal("0.5")).to_integral_value(ROUND_FLOOR)))
    return steps


def _stretched(config: DecoderConfig, frequency: Decimal, turn: Decimal) -> Decimal:
    scaling, d = config.rope_scaling, _DECIMALS
    if scaling is None:
        return frequency
    low, high = Decimal(scaling.low_freq_factor), Decimal(scaling.high_freq_factor)
    original = Decimal(scaling.original_max_position_embeddings)
    turns = d.divide(d.multiply(original, frequency), turn)
    kept = d.divide(d.subtract(turns, low), d.subtract(high, low))
    kept = min(max(kept, Decimal(0)), Decimal(1))
    slowed = d.multiply(d.subtract(Decimal(1), kept), frequency)
    slowed = d.divide(slowed, Decimal(scaling.factor))
    return d.add(slowed, d.multiply(kept, frequency))


def _times(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    (c, s), (d, t) = one, other
    half = 1 << 29
    return np.stack(((c * d - s * t + half) >> 30, (s * d + c * t + half) >> 30))


def _digest(arrays: list[NDArray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
