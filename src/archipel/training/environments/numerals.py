"""Numbers in free text, read whole or not at all, and compared exactly.

The words that may belong to a number are collected first, greedily; then they must be one number from
end to end. Law: a part is never taken for the whole. Of `1e3`, `12,34,567`, `1 1/2`, `5 million` or `7 - 6`
either all is understood or nothing is. Two numbers are equal when their values are, never when floats
nearly are: `1,000.00`, `$1000`, `1e3` and `2000/2` are one, `0.333` and `1/3` are two.
"""

import re
from collections.abc import Sequence
from fractions import Fraction

MAX_NUMBER_CHARS = 64
"""Longer ones are no answer to anything and slow to convert; short powers of so many digits neither."""

_EXPONENT = r"\{?([-+]?\d+)\}?"
_NUMBER = re.compile(
    r"(?P<sign>[-+\u2212]?)(?:\\?\$|[€£¥₹]|(?:US\$|USD|EUR|GBP|INR|Rs\.?) ?)?(?P<sign_after>[-+\u2212]?)(?:"
    r"\\[dt]?frac\{(?P<above>\d+)\}\{(?P<below>\d+)\}?|(?P<whole>\d+) (?P<part>\d+)/(?P<of>\d+)|"
    # thousands as they are grouped in most places or in South Asia, plain digits, or only decimals
    r"(?P<value>(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}|\d+)(?:\.\d+)?|\.\d+)(?:"
    rf"(?:[eE]| ?(?:[x\u00d7*]|\\times|\\cdot) ?10 ?(?:\^|\*\*) ?)(?P<tens>{_EXPONENT})|"
    rf" ?(?:\^|\*\*) ?(?P<power>{_EXPONENT})| ?/ ?(?P<divisor>\d+))?)",
    re.ASCII,
)
_OPENING = re.compile(
    r"(?:\\boxed\{|\\text\{|\\[(\[]|\\?\$|(?:US\$|USD|EUR|GBP|INR|Rs\.?)\s|[\s*_`(\[{\"'])+"
)
_CLOSING = re.compile(r"(?:\\[)\]]|[)\]}*_`\"'.,;:$])+$")
"""Emphasis, quotes, brackets, LaTeX's delimiters and punctuation around a number say nothing."""
_UNIT = re.compile(
    r"(?<=[\d}])(?:%|€|°[CF]?|kg|mg|g|km|cm|mm|mi|ft|in|lbs?|oz|mph|hrs?|hours?|min|minutes?|sec|seconds?|"
    r"days?|cents?|dollars?|USD|EUR|am|pm|st|nd|rd|th)$",
    re.IGNORECASE,
)
"""May be glued to a number; other letters may be part of it, as in 5k or 2x."""
_OPERATOR = re.compile(r"[-+*/^=\u00d7÷·~±<>≤≥≠≈\u2212\u2013—:x|\\]+|\\(?:times|cdot|div)|\*\*")
_ENLARGES = re.compile(
    r"(?:hundred|thousand|million|billion|trillion|dozen|lakh|crore|half|halve|third|quarter|fourth|fifth|"
    r"sixth|seventh|eighth|ninth|tenth|hundredth|thousandth|k|m|b|bn|mn|mln|mil|tn)s?\b|"
    r"(?:score|point|pi|e|squared|cubed|factorial|choose|modulo?)\b",
    re.IGNORECASE,
)
"""Words after a number that make it another one."""
_JOINS = re.compile(r"(?:plus|minus|times|over|divided|and|or|to|through)\b", re.IGNORECASE)
"""Words that do so, or make it one of several, if another number follows; `3 times` is 3."""
_NUMBER_WORD = re.compile(
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|\w+ty)\b",
    re.IGNORECASE,
)
JOINED_WITHIN = 3
"""Words after a joining one among which another number counts as joined: `2 and a half`."""


def number_at_start(line: str) -> Fraction | None:
    """The number that `line` begins with, whatever is said after it; None when it begins with none."""
    opening = _OPENING.match(line)
    words = line[opening.end() if opening else 0 :].split()
    if not words or not _has_digit(words[0]):
        return None
    return _whole(words[: _end_of_number(words, 0)])


def last_number(text: str) -> Fraction | None:
    """The last number in `text`; None when there is none, or when it is a part of something."""
    for line in reversed(text.splitlines()):
        words = line.split()
        places = [place for place, word in enumerate(words) if _has_digit(word)]
        if places:
            first = _start_of_number(words, places[-1])
            found = words[first : _end_of_number(words, places[-1])]
            found[0] = found[0].rpartition("=")[2]
            return _whole(found)
    return None


def _has_digit(word: str) -> bool:
    return any(character.isnumeric() for character in word)


def _belongs(word: str) -> bool:
    return _has_digit(word) or _OPERATOR.fullmatch(word) is not None


def _end_of_number(words: Sequence[str], place: int) -> int:
    """One past the last word that may be part of the number at `place`."""
    while place + 1 < len(words) and words[place][-1] not in ".!?":
        after = words[place + 1]
        if after.startswith(("(", "[")):
            break
        if not (_belongs(after) or _ENLARGES.match(after) or _joins(words, place + 1)):
            break
        place += 1
    return place + 1


def _joins(words: Sequence[str], place: int) -> bool:
    """Whether the word there puts another number to the one before it."""
    following = words[place + 1 : place + 1 + JOINED_WITHIN]
    return _JOINS.fullmatch(words[place]) is not None and any(
        _has_digit(word) or _ENLARGES.match(word) or _NUMBER_WORD.match(word) for word in following
    )


def _start_of_number(words: Sequence[str], place: int) -> int:
    """The first word that may be part of the number at `place`: what an equals sign gives stands alone."""
    while place and "=" not in words[place]:
        before = words[place - 1]
        if "=" in before or before[-1] in ".,;:!?)" or not _belongs(before):
            break
        place -= 1
    return place


def _whole(words: Sequence[str]) -> Fraction | None:
    """The value of these words together; None unless they are one number from end to end."""
    text = " ".join(words)
    if len(text) > 2 * MAX_NUMBER_CHARS:
        return None
    opening = _OPENING.match(text)
    text = text[opening.end() if opening else 0 :]
    goes_on = text.endswith("..")  # 0.333... is no 0.333
    match = _NUMBER.fullmatch(_UNIT.sub("", _CLOSING.sub("", text)))
    if match is None or goes_on or len(match.group()) > MAX_NUMBER_CHARS:
        return None
    try:
        size = _size(match)
    except ZeroDivisionError:
        return None
    if size is None:
        return None
    return -size if (match["sign"] in _MINUS) != (match["sign_after"] in _MINUS) else size


_MINUS = ("-", "\u2212")


def _size(match: re.Match[str]) -> Fraction | None:
    """The value without its sign. Raises ZeroDivisionError."""
    if match["above"]:
        return Fraction(int(match["above"]), int(match["below"]))
    if match["whole"]:
        return int(match["whole"]) + Fraction(int(match["part"]), int(match["of"]))
    value = Fraction(match["value"].replace(",", ""))
    if match["divisor"]:
        return value / int(match["divisor"])
    if match["tens"]:
        return _raised(value, Fraction(10), match["tens"])
    return _raised(Fraction(1), value, match["power"]) if match["power"] else value


def _raised(factor: Fraction, base: Fraction, exponent: str) -> Fraction | None:
    power = int(exponent.strip("{}"))
    digits = len(str(base.numerator)) + len(str(base.denominator)) - 1
    return factor * base**power if abs(power) * digits <= 2 * MAX_NUMBER_CHARS else None
