"""Units of a plan: which exist, what may be added to what, and how people write amounts.

Law: no amount enters a plan without a unit, and no two units of different kinds are ever mixed.
Their algebra is that of `dimensions`; magnitudes stay plain floats and arrays.
"""

import contextlib
import functools
import re
from collections.abc import Container, Mapping

from archipel.planning.dimensions import Unit, UnknownUnit, parsed
from archipel.planning.mistakes import Impossible, UnitMismatch

MAX_AMOUNT_CHARS = 80
"""A number and a unit fit on half a line."""
LARGEST = 1e60
"""No amount of anything here comes near."""

_SUFFIXES = {
    "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12,
    "k": 1e3, "K": 1e3, "M": 1e6, "m": 1e6, "bn": 1e9, "B": 1e9, "b": 1e9, "T": 1e12, "t": 1e12,
}  # fmt: skip
_COUNTED = frozenset(
    f"[{name}]"
    for name in (
        "currency", "parameter", "token", "accelerator", "computation", "rollout", "sample", "step",
        "user", "site", "person", "server", "model",
    )
)  # fmt: skip
"""What people count in thousands and millions; seconds and watts have prefixes instead."""
_NUMBER = re.compile(
    r"^\s*(?P<sign>[-+]?)(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]*)(?P<rest>(?:\.[0-9]+)?"
    r"(?:[eE][-+]?[0-9]{1,3})?)\s*(?P<unit>.*?)\s*$"
)
_SPELLED = re.compile(
    r"(?:\s|[A-Za-z%][A-Za-z0-9_%]*|\*\*\s?-?[0-9](?![0-9])|\^\s?-?[0-9](?![0-9])|[*/()·]|1(?=\s*/))*"
)
"""Names, products, quotients, brackets and one-digit powers: no arithmetic that could run away."""
_SAID = (
    (re.compile(r"^\s*per\s+"), "1/"),
    (re.compile(r"\s+per\s+"), "/"),
    (re.compile(r"\s+each\s*$"), "/accelerator"),
    (re.compile(r"\b([A-Za-z]+)-([A-Za-z]+)\b"), r"(\1*\2)"),
)
"""What people, and plans, say instead of a formula: `per day`, `TB/s each`, `USD/accelerator-hour`."""
_SIGNS = {
    "€": "eur", "£": "gbp", "¥": "jpy", "₹": "inr", "₩": "krw", "₴": "uah", "zł": "pln", "Ft": "huf",
    "Kč": "czk", "lei": "ron",
}  # fmt: skip
_MONEY = re.compile(r"[€£¥₹₩₴]|(?<![^\W\d_])(?:zł|Ft|Kč|lei|[A-Z]{3})(?![^\W\d_])")
"""A currency by its sign or its three letters; `kr` could be three of them."""


@functools.cache
def unit(text: str) -> Unit:
    """The unit that `text` names; "1" and "" are the unit of plain numbers.

    Raises:
        UnitMismatch: no such unit.
    """
    spelled = text if len(text) <= MAX_AMOUNT_CHARS else "?"
    for said, formal in _SAID:
        spelled = said.sub(formal, spelled)
    if not _SPELLED.fullmatch(spelled if spelled.strip() != "1" else ""):
        raise UnitMismatch(f"unknown unit {text[:MAX_AMOUNT_CHARS]!r}; {_UNITS_ARE}")
    try:
        return parsed("" if text.strip() == "1" else spelled)
    except UnknownUnit as error:
        raise UnitMismatch(f"unknown unit {text!r} ({error}); {_UNITS_ARE}") from None


_UNITS_ARE = "units are for instance USD, USD/h, kW, GWh, TFLOP/s, Mbit/s, token, param, day"


@functools.cache
def factor(source: Unit, target: Unit) -> float:
    """Multiply a magnitude in `source` by this to have it in `target`.

    Raises:
        UnitMismatch: the two measure different things.
    """
    if source == target:
        return 1.0
    if not compatible(source, target):
        raise UnitMismatch(
            f"got {spell(source) or 'a plain number'}, expected {spell(target) or 'a plain number'}:"
            " they measure different things"
        )
    return source.size / target.size


def compatible(first: Unit, second: Unit) -> bool:
    """Whether one can be converted into the other."""
    return first.dimensions == second.dimensions


def spell(of: Unit) -> str:
    """The short name of a unit, e.g. `USD/h`; empty for plain numbers."""
    return of.spelled


def amount(text: str, expected: str, what: str) -> float:
    """The amount a person wrote, in units of `expected`: "50k USD", "$50,000", "70B", "3 weeks".

    A bare number is taken to be in `expected`; k, M, B and T stand for thousand to trillion of what
    is counted.

    Raises:
        UnitMismatch: not a finite number, or of another kind than `expected`; names `what` it was for.
    """
    money = "$" in text and "USD" not in text
    written = re.sub(r"^\s*([-+]?)\s*(?:USD|\$)\s*(?=[0-9.])", r"\1", text) if text else text
    if written != text and "USD" in text:
        money = True
    found = _NUMBER.match(written) if len(text) <= MAX_AMOUNT_CHARS else None
    if found is None or not (found["whole"] or found["rest"].startswith(".")):
        raise UnitMismatch(f"{what}: got {shortened(text)!r}, expected {example(expected)}")
    if found["unit"].startswith(","):
        raise UnitMismatch(
            f"{what}: got {text!r}; write decimals with a point, thousands as 1,000: {example(expected)}"
        )
    number = float(f"{found['sign']}{found['whole'].replace(',', '') or '0'}{found['rest']}")
    scale = _scale(found["unit"], unit(expected), money=money)
    if scale is None:
        raise UnitMismatch(f"{what}: got {text!r}, expected {example(expected)}")
    if not abs(number * scale) < LARGEST:
        raise UnitMismatch(f"{what}: got {text!r}, more than can be; expected {example(expected)}")
    return number * scale


def in_dollars(text: str, rates: Mapping[str, float]) -> str:
    """The same amount in USD if it was written in another currency: "50k EUR", "€2/h", "80,000 Ft"; else as it came.

    `rates` are dollars for one, by three small letters. Only of the currency that is counted, not of one
    that something is counted by.
    """
    code = currency_of(text, rates)
    counted, slash, rest = text.partition("/")
    found = _NUMBER.match(_MONEY.sub("", counted)) if code else None
    if found is None or not found["whole"]:
        return text
    digits = f"{found['sign']}{found['whole'].replace(',', '')}{found['rest']}"
    return f"{float(digits) * rates[code]:.10g}{found['unit']} USD{slash}{rest}"


def currency_of(text: str, known: Container[str]) -> str:
    """The currency that an amount is written in, of those `known` by three small letters; empty if none is."""
    if len(text) > MAX_AMOUNT_CHARS:
        return ""
    counted, _, rest = text.partition("/")
    said, by = (
        [_SIGNS.get(m, m.lower()) for m in _MONEY.findall(part)] for part in (counted, rest)
    )
    return said[0] if len(said) == 1 and said[0] in known and not by else ""


def with_number(text: str, number: str) -> str:
    """An amount with another number in the place of its own: the unit and its scale stay."""
    return re.sub(
        r"[-+]?[0-9][0-9,]*(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9]+", number, text, count=1
    )


def positive(text: str, expected: str, what: str) -> float:
    """An amount above nothing.

    Raises:
        UnitMismatch: as `amount`.
        Impossible: zero, negative or infinite.
    """
    value = amount(text, expected, what)
    if not 0 < value < float("inf"):
        raise Impossible(f"{what}: got {text!r}, expected more than nothing: {example(expected)}")
    return value


def kind_of(text: str, kinds: dict[str, str], what: str) -> tuple[str, float]:
    """Which of several `kinds` (name -> unit) the amount is, and how much: `--budget 1e24FLOP`.

    A bare number is of the first kind.

    Raises:
        UnitMismatch: of none of them.
    """
    for name, expected in kinds.items():
        try:
            return name, amount(text, expected, what)
        except UnitMismatch:
            continue
    choices = ", or ".join(example(expected) for expected in kinds.values())
    raise UnitMismatch(f"{what}: got {text!r}, expected {choices}")


def _scale(rest: str, wanted: Unit, *, money: bool) -> float | None:
    """What one of `rest` is in `wanted`; None if it is something else."""
    readings = [(1.0, rest)]
    counted = not wanted.dimensions or any(
        kind in _COUNTED and power > 0 for kind, power in wanted.dimensions
    )
    if counted:
        readings += [
            (scale, rest[len(suffix) :].strip())
            for suffix, scale in _SUFFIXES.items()
            if rest.startswith(suffix)
        ]
    for scale, name in readings:
        spelled = f"USD {name}".strip() if money else name
        if not spelled:
            return scale
        for reading in (spelled, f"({spelled})/accelerator"):  # people say $2/h of one accelerator
            with contextlib.suppress(UnitMismatch):
                return scale * factor(unit(reading), wanted)
    return None


def shortened(text: str) -> str:
    """A word that somebody typed, short enough to be said back."""
    return text if len(text) <= MAX_AMOUNT_CHARS else f"{text[: MAX_AMOUNT_CHARS - 1]}…"


_EXAMPLES = {
    "USD": "money such as 50k USD or $50,000",
    "FLOP": "compute such as 1e24 FLOP",
    "USD/(accelerator*h)": "a price such as $2.95/accelerator-hour",
    "W": "power such as 5 kW",
    "h": "time such as 30 days",
    "day": "time such as 30 days",
    "year": "time such as 4 years",
    "s": "time such as 10 min",
    "param": "a size such as 7B",
    "token": "a number of tokens such as 2T",
    "accelerator": "a count such as 10000",
    "site": "a count such as 8",
    "1": "a plain number such as 0.4 or 40 percent",
}


def example(expected: str) -> str:
    """How an amount of this unit may be written."""
    return _EXAMPLES.get(expected, f"an amount in {expected} such as 1.5 {expected}")
