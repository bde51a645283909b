"""Numbers, times and strangers' text as pages show them. Pure."""

import unicodedata
from datetime import UTC, datetime

from archipel.dashboard.run_words import number as number

MICRO = 1_000_000
UNKNOWN = "-"
"""Where a figure is not known."""
MAX_SHOWN = 400
"""Characters of a stranger's text that a page shows."""
SHORT_DID = 8
_PREFIXES = ("", "k", "M", "G", "T", "P")
_STEP = 1000.0


def shown(text: str, limit: int = MAX_SHOWN) -> str:
    """A stranger's text in one line: `visible`, and cut where it is too long."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return visible(cut).replace("\n", "\\u000a")


def visible(text: str) -> str:
    r"""What moves, hides or turns letters is seen as its number, \u202e and the like; line breaks stay.

    Controls, format characters (which turn the direction of reading), odd spaces and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(
        sign
        if sign in " \n" or unicodedata.category(sign)[0] not in "CZ"
        else f"\\u{ord(sign):04x}"
        for sign in text
    )


def short_did(did: str) -> str:
    """The end of a key's name, which differs from key to key."""
    bare = shown(did, 200)
    return bare if len(bare) <= 2 * SHORT_DID else f"…{bare[-SHORT_DID:]}"


def count(number: int) -> str:
    """With commas."""
    return f"{number:,}"


def compact(number: float) -> str:
    """Three digits and a prefix: 1.23 M."""
    value = float(number)
    for prefix in _PREFIXES:
        if abs(value) < _STEP or prefix == _PREFIXES[-1]:
            digits = f"{value:.0f}" if not prefix and value == int(value) else f"{value:.3g}"
            return f"{digits} {prefix}".strip()
        value /= _STEP
    return str(number)


def octets(number: float) -> str:
    """Bytes, in decimal prefixes."""
    return f"{compact(number)}{'' if ' ' in compact(number) else ' '}B"


def amount(micro: int) -> str:
    """Credits to six places, of which the last that are zero are left out; always two at least."""
    sign, whole, part = "-" if micro < 0 else "", abs(micro) // MICRO, f"{abs(micro) % MICRO:06d}"
    return f"{sign}{whole:,}.{part.rstrip('0'):0<2}"


def share(value: float) -> str:
    """Per cent."""
    return f"{value:.0%}"


def moment(at_ms: int) -> str:
    """A time that means the same everywhere."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return f"{at_ms} ms"


def iso(at_ms: int) -> str:
    """The same for machines; empty: no calendar has it."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return ""


def span(seconds: float) -> str:
    """How long, in the unit that fits."""
    for unit, size in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.1f} s"


def words(name: str) -> str:
    """A field's name as words."""
    return shown(name.replace("_", " "), 80)


def lines(text: str, limit: int = 4000) -> str:
    """A stranger's text of several lines."""
    return "\n".join(shown(line, limit) for line in text[:limit].splitlines())
