"""Amounts as people write them, in integers: credits and dollars by their millionths, never through a float."""

import re

MICRO = 1_000_000
_DECIMAL = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,6}))?")


class BadAmount(ValueError):
    """No decimal number with at most six places."""


def micro_of(text: str) -> int:
    """Millionths of what a decimal number says, exactly.

    Raises:
        BadAmount: more than 12 digits before the point or 6 after it, a sign, an exponent, or no number.
    """
    found = _DECIMAL.fullmatch(text.strip())
    if found is None or not text.isascii():
        raise BadAmount(
            f"got {text!r:.40}, expected a number like 12 or 0.25: no sign, at most six places after the point"
        )
    return int(found[1]) * MICRO + int((found[2] or "").ljust(6, "0"))


def written(micro: int) -> str:
    """As a decimal number with six places; `micro_of` reads it back where it is not below zero."""
    sign = "-" if micro < 0 else ""
    return f"{sign}{abs(micro) // MICRO}.{abs(micro) % MICRO:06d}"


def dollars(micro: int, rate_micro: int) -> int:
    """Millionths of a dollar for micro-credits, rounded to zero. rate_micro: of a dollar, for a credit."""
    whole = abs(micro) * rate_micro // MICRO
    return whole if micro >= 0 else -whole
