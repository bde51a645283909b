"""The final number of a worked answer, compared exactly.

Law: two answers are equal when the numbers are, never when the floats nearly are: `1,000.00`,
`$1000` and `2000/2` are one number; `0.333` and `1/3` are two.
"""

import re
from fractions import Fraction

MARK = "####"
"""GSM8K (Cobbe et al. 2021, arXiv 2110.14168) ends each answer with this and the number."""

MAX_NUMBER_CHARS = 64
"""A longer run of digits is no answer to anything and slow to convert."""

_UNSIGNED = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"(?<![\w.,])(?P<sign>[-+]?)\s?\$?(?P<sign_after>-?)(?P<value>{_UNSIGNED})"
    rf"(?:\s?/\s?(?P<divisor>\d+))?",
    re.ASCII,
)


def final_number(text: str, anywhere: bool = False) -> Fraction | None:
    """The last number after the last `####` on its line.

    Args:
        text: a completion or a reference answer.
        anywhere: without a `####`, take the last number of the whole text.

    Returns:
        The exact value, or None when there is none (or it is absurdly long, or x/0).
    """
    _, mark, tail = text.rpartition(MARK)
    if not mark and not anywhere:
        return None
    if mark:
        tail = (tail.strip().splitlines() or [""])[0]
    found = list(_NUMBER.finditer(tail))
    return _value(found[-1]) if found else None


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match.group()) > MAX_NUMBER_CHARS:
        return None
    divisor = int(match["divisor"] or 1)
    if divisor == 0:
        return None
    value = Fraction(match["value"].replace(",", "")) / divisor
    return -value if (match["sign"] == "-") != (match["sign_after"] == "-") else value
