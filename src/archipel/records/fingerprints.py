"""Activation fingerprints as they travel with rollouts: `fingerprints` U8 in a payload, checked without a tensor library.

Of every rollout one proof for each `ROWS` of its tokens, and one for those that are left: `u16be modulus ||
u16be coefficient * A_ROW * rows`, ascending (`engine.toploc` says of what). So their length follows from the lengths of
the rollouts alone: 8 bytes a token, and 2 for each proof. Law: pure; what is malformed is refused, never skipped.
"""

import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence

from archipel.records.prompts import WrongShape

FIELD = 65_497
"""A prime below every bit pattern of bf16 that is not a NaN: 0xFFD9."""
ROWS = 32
"""Tokens of a proof."""
A_ROW = 4
"""Activations of each token, on average, that a proof holds."""
TENSOR = "fingerprints"
FIGURES = ("exponents", "exponents_mean", "mantissas", "mantissas_mean")
"""What is measured of them, of the worst proof of an answer and of all; a run whose limits name one asks for fingerprints."""
AT_ONCE = 65_536


class WrongFingerprints(WrongShape):
    """Not one proof for each so many tokens, or numbers that no proof has."""


def num_bytes(length: int) -> int:
    """Of the fingerprints of one rollout of so many tokens."""
    return 2 * -(-length // ROWS) + 2 * A_ROW * length


def sizes(length: int) -> Iterator[int]:
    """Tokens of each proof of a rollout."""
    for start in range(0, length, ROWS):
        yield min(ROWS, length - start)


def check_fingerprints(told: array, lengths: Sequence[int]) -> None:
    """Whether there is a proof for all tokens of rollouts of these lengths, of numbers that a proof may have.

    That these activations are the policy's is not shown.

    Raises:
        WrongFingerprints: there is not.
    """
    expected = sum(map(num_bytes, lengths))
    if len(told) != expected:
        raise WrongFingerprints(f"fingerprints of {len(told)} bytes, expected {expected}")
    numbers = array("H", told.tobytes())
    if sys.byteorder == "little":
        numbers.byteswap()
    at = full = 0
    for size in (size for length in lengths for size in sizes(length)):
        modulus, points = numbers[at], A_ROW * size
        if not points <= modulus <= FIELD:
            raise WrongFingerprints(
                f"a fingerprint's modulus is {modulus}, expected {points} .. {FIELD}"
            )
        full += modulus == FIELD
        at += 1 + points
    # Of all numbers only a modulus may be the field's own.
    for start in range(0, len(numbers), AT_ONCE):
        piece = numbers[start : start + AT_ONCE]
        full -= piece.count(FIELD)
        if max(piece) > FIELD:
            raise WrongFingerprints(f"a fingerprint holds {max(piece)}, expected less than {FIELD}")
    if full:
        raise WrongFingerprints(f"a fingerprint holds {FIELD}, expected less")


def cut_fingerprints(parts: Mapping[str, array]) -> list[bytes]:
    """Of each rollout its own, of checked tensors."""
    cut, start, told = [], 0, parts[TENSOR].tobytes()
    for length in parts["lengths"]:
        end = start + num_bytes(length)
        cut.append(told[start:end])
        start = end
    return cut
