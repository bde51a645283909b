"""Single values of others' files: numbers and days, or a sentence why not. Pure."""

import datetime
import re
from decimal import Decimal, InvalidOperation

from archipel.observatory.rows import MAX_AMOUNT, UNKNOWN

MAX_CELL_CHARACTERS = 100
"""Of a number or a day."""
FIRST_DAY = datetime.date(1950, 1, 1)
_MICRO = 1_000_000
_SLUG = re.compile(r"[^a-z0-9.+]+")


class BadCell(ValueError):
    """The text is no such value; the message says what it is."""


def number(text: str) -> Decimal:
    """A finite decimal number, commas between thousands allowed.

    Raises:
        BadCell: not one, or beyond MAX_AMOUNT.
    """
    if len(text) > MAX_CELL_CHARACTERS:
        raise BadCell(f"{text!r:.40} is too long for a number")
    plain = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    try:
        value = Decimal(plain) if plain.isascii() and "_" not in plain else Decimal("NaN")
    except InvalidOperation:
        raise BadCell(f"{text!r:.60} is no number") from None
    if not value.is_finite() or value.copy_abs() > MAX_AMOUNT:
        raise BadCell(f"{text!r:.60} is no number of at most {MAX_AMOUNT}")
    return value


def whole(text: str) -> int:
    """A whole number, also written as 7.0 or 7e9.

    Raises:
        BadCell: it is none.
    """
    value = number(text)
    if value != value.to_integral_value():
        raise BadCell(f"{text!r:.60} is no whole number")
    return int(value)


def micro(text: str) -> int:
    """Millionths of a number, rounded to the nearest, half to even.

    Raises:
        BadCell: no number, or too large.
    """
    value = int((number(text) * _MICRO).to_integral_value())
    if abs(value) > MAX_AMOUNT:
        raise BadCell(f"{text!r:.60} has more than {MAX_AMOUNT} millionths")
    return value


def day(text: str, latest: str) -> str:
    """YYYY-MM-DD of a text that begins so; empty: unknown. latest: facts of a later day are wrong.

    Raises:
        BadCell: no day of the calendar, before 1950, or after `latest`.
    """
    if not text:
        return UNKNOWN
    try:
        found = datetime.date.fromisoformat(text[:10])
    except ValueError:
        raise BadCell(f"{text!r:.40} is no day (YYYY-MM-DD)") from None
    if len(text) > 10 and text[10] not in "T ":
        raise BadCell(f"{text!r:.40} is no day (YYYY-MM-DD)")
    if found < FIRST_DAY or found.isoformat() > latest:
        raise BadCell(f"{text!r:.40} is no day from {FIRST_DAY} to {latest}")
    return found.isoformat()


def slug(text: str) -> str:
    """Small letters, digits, dots and plus signs of a name, the rest as dashes; may be empty."""
    return _SLUG.sub("-", text.lower()).strip("-.+")[:120].rstrip("-.+")
