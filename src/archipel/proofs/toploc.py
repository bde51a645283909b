"""Activation fingerprints: which activations of a result were the largest, and their values, in 2 + 2k bytes.

Source: TOPLOC (arXiv 2501.16007): rows of the last hidden state in bf16, in chunks; of each chunk the k largest
magnitudes as points (index mod m, bit pattern) of a polynomial over GF(65497), whose coefficients are the proof.
A proof is `u16be m || u16be coefficient * k`, ascending. Law: what is malformed is `BadFingerprint`, never a pass
and never a crash; indices are int64. Not shown: that the tokens were sampled from these activations, for whoever
reads the right model on cheap tokens has them too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FIELD = 65_497
"""A prime below every bit pattern that is not a NaN: 0xFFD9."""
TOP = 128
"""Activations of a chunk that a proof holds, if it has so many."""
ROWS = 32
"""Rows of a chunk."""
MAX_CHUNKS = 65_536
_EXPONENT, _MANTISSA, _MAGNITUDE = 0x7F80, 0x7F, 0x7FFF

Bits = NDArray[np.uint16]
Numbers = NDArray[np.int64]


class BadFingerprint(ValueError):
    """Bytes that are no proof, proofs that do not belong to so many rows, or activations that have none."""


@dataclass(frozen=True)
class Distance:
    """How far a proof is from the activations of one chunk."""

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


def prove(rows: Bits, top: int = TOP, group: int = ROWS) -> tuple[bytes, ...]:
    """One proof for each chunk of `group` rows; rows are (N, d) bf16 patterns.

    Raises:
        BadFingerprint: no rows, or an activation is not finite.
    """
    return tuple(encode(chunk, top) for chunk in chunks(rows, group))


def distances(
    proofs: Sequence[bytes], rows: Bits, top: int = TOP, group: int = ROWS
) -> tuple[Distance, ...]:
    """Each chunk's distance from its proof, by the verifier's own rows.

    Raises:
        BadFingerprint: as many proofs are expected as there are chunks, each of its length; see `decode`.
    """
    parts = chunks(rows, group)
    if len(proofs) != len(parts):
        raise BadFingerprint(f"{len(proofs)} proofs for {len(parts)} chunks; expected one each")
    return tuple(compare(proof, part, top) for proof, part in zip(proofs, parts, strict=True))


def chunks(rows: Bits, group: int = ROWS) -> list[Bits]:
    """Consecutive groups of rows, each flattened.

    Raises:
        BadFingerprint: there are no rows, or too many, or they are no bf16 patterns.
    """
    if rows.dtype != np.uint16 or rows.ndim != 2 or 0 in rows.shape:
        raise BadFingerprint(
            f"got {rows.dtype} of shape {rows.shape}; expected bf16 patterns (uint16) of at least one row"
        )
    if group < 1 or len(rows) > MAX_CHUNKS * group:
        raise BadFingerprint(
            f"{len(rows)} rows in groups of {group}; expected 1 to {MAX_CHUNKS} groups"
        )
    return [rows[start : start + group].reshape(-1) for start in range(0, len(rows), group)]


def encode(chunk: Bits, top: int = TOP) -> bytes:
    """The proof of one chunk of patterns.

    Raises:
        BadFingerprint: it is empty, not finite, or no modulus tells its largest activations apart.
    """
    at = largest(chunk, top)
    modulus = _modulus(at)
    coefficients = _interpolate(at % modulus, chunk[at].astype(np.int64))
    return np.concatenate(([modulus], coefficients)).astype(">u2").tobytes()


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
        return Distance(len(at), float("inf"), float("inf"))
    apart = np.abs((told & _MANTISSA) - (own & _MANTISSA))[same]
    return Distance(int((~same).sum()), float(apart.mean()), float(np.median(apart)))


def largest(chunk: Bits, top: int = TOP) -> Numbers:
    """Indices (int64) of the largest magnitudes, the largest first; of equal ones the earlier.

    Raises:
        BadFingerprint: nothing there, or not finite.
    """
    if top < 1 or len(chunk) == 0:
        raise BadFingerprint(f"{top} largest of {len(chunk)} activations; expected at least one")
    _require_finite(chunk)
    magnitudes = (chunk & np.uint16(_MAGNITUDE)).astype(np.int64)
    return np.argsort(-magnitudes, kind="stable")[:top].astype(np.int64)


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


def _interpolate(x: Numbers, y: Numbers) -> Numbers:
    """Ascending coefficients through (x, y), x distinct: Newton's divided differences, then multiplied out."""
    size, differences = len(x), y.copy()
    for step in range(1, size):
        rise = (differences[step:] - differences[step - 1 : -1]) % FIELD
        differences[step:] = rise * _inverse((x[step:] - x[:-step]) % FIELD) % FIELD
    coefficients = np.zeros(size, np.int64)
    for place in range(size - 1, -1, -1):
        # Times (X - x[place]), plus the next difference.
        moved = np.concatenate(([0], coefficients[:-1]))
        coefficients = (moved - coefficients * x[place]) % FIELD
        coefficients[0] = (coefficients[0] + differences[place]) % FIELD
    return coefficients


def _inverse(values: Numbers) -> Numbers:
    """By Fermat: to the power of FIELD - 2."""
    result, power, left = np.ones_like(values), values, FIELD - 2
    while left:
        if left & 1:
            result = result * power % FIELD
        power, left = power * power % FIELD, left >> 1
    return result
