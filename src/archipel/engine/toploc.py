"""Activation fingerprints: which activations of a result were the largest, and their values, in 8 bytes a token.

Source: TOPLOC (arXiv 2501.16007): rows of the last hidden state in bf16, in chunks; of each chunk the largest
magnitudes, here 4 a row, as points (index mod m, bit pattern) of a polynomial over GF(65497), whose coefficients are
the proof: `u16be m || u16be coefficient * points`, ascending. Law: what is malformed is `BadFingerprint`, never a pass
and never a crash; indices are int64. Not shown: that the tokens were sampled from these activations, for whoever
reads the right model on cheap tokens has them too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from archipel.records.fingerprints import A_ROW, FIELD, ROWS, num_bytes, sizes

TOP = A_ROW * ROWS
"""Points of a whole chunk."""
MAX_ROWS = 1 << 21
_EXPONENT, _MANTISSA, _MAGNITUDE = 0x7F80, 0x7F, 0x7FFF

Bits = NDArray[np.uint16]
Numbers = NDArray[np.int64]


class BadFingerprint(ValueError):
    """Bytes that are no proof, proofs that do not belong to so many rows, or activations that have none."""


@dataclass(frozen=True)
class Distance:
    """How far a proof is from the activations of one chunk."""

    points: int
    exponents: int
    """Points whose exponents differ: those that the prover had elsewhere among them."""
    mean: float
    """Mean difference of mantissas (0 to 127) where exponents are equal; infinite if none are."""
    median: float


def bits_of(values: NDArray[np.float32]) -> Bits:
    """bf16 patterns of fp32 numbers, rounded to nearest, ties to even.

    Raises:
        BadFingerprint: a number is not finite.
    """
    raw = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((raw + 0x7FFF + ((raw >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)).astype(
        np.uint16
    )
    _require_finite(rounded)
    return rounded


def prove(rows: Bits) -> bytes:
    """The proofs of one rollout, one after the other; rows are (N, d) bf16 patterns.

    Raises:
        BadFingerprint: no rows, or an activation is not finite.
    """
    return b"".join(encode(chunk, A_ROW * size) for chunk, size in _parts(rows))


def distances(proofs: bytes, rows: Bits) -> tuple[Distance, ...]:
    """Each chunk's distance from its proof, by the verifier's own rows.

    Raises:
        BadFingerprint: as many proofs are expected as there are chunks, each of its length; see `decode`.
    """
    parts, found, at = _parts(rows), [], 0
    if len(proofs) != num_bytes(len(rows)):
        raise BadFingerprint(
            f"proofs of {len(proofs)} bytes for {len(rows)} rows; expected {num_bytes(len(rows))}"
        )
    for chunk, size in parts:
        end = at + num_bytes(size)
        found.append(compare(proofs[at:end], chunk, A_ROW * size))
        at = end
    return tuple(found)


def _parts(rows: Bits) -> list[tuple[Bits, int]]:
    """Consecutive groups of rows, each flattened, and of how many rows each is.

    Raises:
        BadFingerprint: there are no rows, or too many, or they are no bf16 patterns.
    """
    if rows.dtype != np.uint16 or rows.ndim != 2 or not len(rows) or rows.shape[1] < A_ROW:
        raise BadFingerprint(
            f"got {rows.dtype} of shape {rows.shape}; expected bf16 patterns (uint16) of at least one row of {A_ROW}"
        )
    if len(rows) > MAX_ROWS:
        raise BadFingerprint(f"{len(rows)} rows; expected at most {MAX_ROWS}")
    starts = range(0, len(rows), ROWS)
    return [
        (rows[start : start + ROWS].reshape(-1), size)
        for start, size in zip(starts, sizes(len(rows)), strict=True)
    ]


def encode(chunk: Bits, top: int = TOP) -> bytes:
    """The proof of one chunk of patterns.

    Raises:
        BadFingerprint: it is empty, not finite, or no modulus tells its largest activations apart.
    """
    return encode_all([chunk], top)[0]


def encode_all(chunks: Sequence[Bits], top: int) -> list[bytes]:
    """The proofs of chunks that have as many points each, which together take a fraction of the time.

    Raises:
        BadFingerprint: see `encode`.
    """
    at_CP = [largest(chunk, top) for chunk in chunks]
    moduli = [_modulus(at) for at in at_CP]
    places_CP = np.array([at % modulus for at, modulus in zip(at_CP, moduli, strict=True)])
    values_CP = np.array([chunk[at] for chunk, at in zip(chunks, at_CP, strict=True)], np.int64)
    coefficients_CP = _interpolate(places_CP, values_CP)
    return [
        np.concatenate(([modulus], own)).astype(">u2").tobytes()
        for modulus, own in zip(moduli, coefficients_CP, strict=True)
    ]


def decode(proof: bytes, size: int) -> tuple[int, Numbers]:
    """Modulus and `size` coefficients, ascending.

    Raises:
        BadFingerprint: another length, a modulus of 0 or above the field, too small for so many points, or a
            coefficient outside the field.
    """
    if not 1 <= size < FIELD or len(proof) != 2 + 2 * size:
        raise BadFingerprint(f"a proof of {len(proof)} bytes; expected {2 + 2 * size}")
    numbers = np.frombuffer(proof, ">u2").astype(np.int64)
    modulus, coefficients = int(numbers[0]), numbers[1:]
    if not size <= modulus <= FIELD:
        raise BadFingerprint(f"modulus {modulus}; expected {size} to {FIELD}")
    if int(coefficients.max()) >= FIELD:
        raise BadFingerprint(f"coefficient {int(coefficients.max())}; expected less than {FIELD}")
    return modulus, coefficients


def evaluate(proof: bytes, at: Numbers, size: int) -> Bits:
    """The patterns that a proof of `size` points gives at these indices.

    Raises:
        BadFingerprint: see `decode`.
    """
    modulus, coefficients = decode(proof, size)
    places, values = at % modulus, np.zeros(len(at), np.int64)
    for coefficient in coefficients[::-1]:
        values = (values * places + coefficient) % FIELD
    return values.astype(np.uint16)


def compare(proof: bytes, chunk: Bits, top: int = TOP) -> Distance:
    """At the verifier's own largest activations; signs are not compared.

    Raises:
        BadFingerprint: see `decode` and `encode`.
    """
    at = largest(chunk, top)
    told, own = evaluate(proof, at, len(at)).astype(np.int64), chunk[at].astype(np.int64)
    same = (told & _EXPONENT) == (own & _EXPONENT)
    if not same.any():
        return Distance(len(at), len(at), float("inf"), float("inf"))
    apart = np.abs((told & _MANTISSA) - (own & _MANTISSA))[same]
    return Distance(len(at), int((~same).sum()), float(apart.mean()), float(np.median(apart)))


def largest(chunk: Bits, top: int = TOP) -> Numbers:
    """Indices (int64) of the largest magnitudes, the largest first; of equal ones the earlier.

    Raises:
        BadFingerprint: nothing there, or not finite.
    """
    if top < 1 or len(chunk) == 0:
        raise BadFingerprint(f"{top} largest of {len(chunk)} activations; expected at least one")
    _require_finite(chunk)
    magnitudes = (chunk & np.uint16(_MAGNITUDE)).astype(np.int64)
    if top < len(chunk):
        # Sorting all of a wide model's chunk would take most of the time.
        least = np.partition(magnitudes, len(chunk) - top)[len(chunk) - top]
        near = np.flatnonzero(magnitudes >= least)
        return near[np.argsort(-magnitudes[near], kind="stable")[:top]].astype(np.int64)
    return np.argsort(-magnitudes, kind="stable").astype(np.int64)


def _require_finite(bits: Bits) -> None:
    if ((bits & np.uint16(_EXPONENT)) == _EXPONENT).any():
        raise BadFingerprint("activations are NaN or infinite; expected finite ones")


def _modulus(at: Numbers) -> int:
    """The largest up to the field by which indices stay distinct."""
    if int(at.max()) < FIELD:
        return FIELD
    for modulus in range(FIELD, len(at) - 1, -1):
        if len(np.unique(at % modulus)) == len(at):
            return modulus
    raise BadFingerprint(f"no modulus up to {FIELD} tells {len(at)} indices apart")


def _interpolate(x_CP: Numbers, y_CP: Numbers) -> Numbers:
    """Ascending coefficients through each row's (x, y), its x distinct: Newton's divided differences, multiplied out."""
    size, differences, inverses = x_CP.shape[1], y_CP.copy(), _inverses()
    for step in range(1, size):
        rise = differences[:, step:] - differences[:, step - 1 : -1]
        # Products stay below 2^33: one remainder is enough.
        run = (x_CP[:, step:] - x_CP[:, :-step]) % FIELD
        differences[:, step:] = rise * inverses[run] % FIELD
    coefficients = np.zeros_like(y_CP)
    for place in range(size - 1, -1, -1):
        # Times (X - x[place]), plus the next difference.
        moved = np.roll(coefficients, 1, axis=1)
        moved[:, 0] = differences[:, place]
        coefficients = (moved - coefficients * x_CP[:, place, None]) % FIELD
    return coefficients


@lru_cache(1)
def _inverses() -> Numbers:
    """Of every number of the field, by Fermat: to the power of FIELD - 2; of 0 it is 0."""
    power, left = np.arange(FIELD, dtype=np.int64), FIELD - 2
    result = np.ones_like(power)
    while left:
        if left & 1:
            result = result * power % FIELD
        power, left = power * power % FIELD, left >> 1
    return result
