"""A plan's data in words: amounts people can read, tables that line up, the derivation tree, all plain text."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archipel.planning.layout import indented, inside, lined_up, wrapped
from archipel.planning.quantity import Quantity, Source, Stated, named_parents
from archipel.planning.sampling import Draws
from archipel.planning.units import spell

_SCALES = ((1e12, " T"), (1e9, " B"), (1e6, " M"))
_SPOKEN = {
    "accelerator·h": "accelerator-hours",
    "/accelerator/h": "/accelerator-hour",
    "/(accelerator*h)": "/accelerator-hour",
    "/accelerator/s": "/s each",
}
_TIMES = ("yr", "d", "h", "s", "min", "month")
_COUNTED = (
    "token", "param", "accelerator", "server", "site", "person", "rollout", "step", "accelerator·h", ""
)  # fmt: skip
_WORDS = {
    "yr": "years", "d": "days", "h": "hours", "min": "minutes", "month": "months",
    "param": "parameters", "token": "tokens", "accelerator": "accelerators", "site": "sites",
}  # fmt: skip
"""Units inside a sentence."""
LEAST_DIGITS, MOST_DIGITS = 2, 4
"""Of a number whose interval is wide; of one that has none."""
_MONEY = {"kUSD": 1e3, "MUSD": 1e6, "BUSD": 1e9}
"""Units whose name already holds a scale."""


@dataclass(frozen=True)
class Scale:
    """How amounts of one unit are written: before, divided by, after."""

    before: str
    divisor: float
    after: str


def scale_of(value: float, unit: str) -> Scale:
    """The way to write amounts of about this size in this unit."""
    currency, slash, per = unit.partition("/")
    money = currency == "USD" or currency in _MONEY
    if money or unit in _COUNTED:
        multiple = _MONEY.get(currency, 1.0)
        size = abs(value) * multiple if math.isfinite(value) else 0.0
        large, suffix = next(
            ((large, text) for large, text in _SCALES if size >= large * 0.9995), (1.0, "")
        )
        tail = slash + per if money else f" {unit}"
        return Scale("$" if money else "", large / multiple, suffix + _spoken_unit(tail).rstrip())
    if unit in ("percent", "%"):
        return Scale("", 1.0, "%")
    return Scale("", 1.0, f" {_spoken_unit(unit)}".replace(" 1/", " per ", 1))


def amount_text(value: float, unit: str, digits: int = 4) -> str:
    """A magnitude and its unit: `$492.5 M`, `12.75 MW`, `70 B param`."""
    if not math.isfinite(value):
        return _beyond(value, unit)
    scale = scale_of(value, unit)
    sign = "-" if value < 0 else ""
    return f"{sign}{scale.before}{_number(abs(value), scale, digits)}{scale.after}"


def digits_of(row: dict[str, Any]) -> int:
    """How many digits of a row's value its interval leaves standing: two to four.

    Four without an interval, and of a figure that somebody stated: it is shown as it stands.
    """
    half = (row["high"] - row["low"]) / 2
    if not uncertain(row) or "source" in row:
        return MOST_DIGITS
    known: float = abs(row["value"]) / half if math.isfinite(half) and half > 0 else 0.0
    return LEAST_DIGITS + int(known >= 10) + int(known >= 100)


def value_text(row: dict[str, Any]) -> str:
    """The value of one row of data, rounded by its uncertainty."""
    return amount_text(row["value"], row["unit"], digits_of(row))


def range_text(row: dict[str, Any]) -> str:
    """Value and 90% interval of one row of data: `$590 M [500 – 740]`; the interval only if there is one."""
    return value_text(row) + (f" [{band_text(row)}]" if uncertain(row) else "")


def band_text(row: dict[str, Any]) -> str:
    """The interval of one row, in the scale and with the digits of its value."""
    scale, digits = scale_of(row["value"], row["unit"]), digits_of(row)
    ends = (row["low"], row["high"])
    return " – ".join(
        _number(end, scale, digits) if math.isfinite(end) else _beyond(end, row["unit"])
        for end in ends
    )


def amount_in_words(row: dict[str, Any]) -> str:
    """The value of one row inside a sentence: `12 years`."""
    return _in_words(value_text(row))


def estimate_in_words(row: dict[str, Any]) -> str:
    """Value and interval of one row inside a sentence: `12 years [8.5 – 20]`."""
    return amount_in_words(row) + (f" [{band_text(row)}]" if uncertain(row) else "")


def _in_words(amount: str) -> str:
    number, gap, unit = amount.rpartition(" ")
    one = number == "1"
    return (
        f"{number}{gap}{_WORDS[unit].removesuffix('s' if one else '')}"
        if unit in _WORDS
        else amount
    )


def uncertain(row: dict[str, Any]) -> bool:
    """Whether the interval is wider than rounding; one that has no end is."""
    ends = (row["low"], row["high"])
    if not all(math.isfinite(end) for end in ends):
        return bool(ends != (row["value"], row["value"]))
    return bool(abs(row["high"] - row["low"]) > 1e-9 * max(abs(row["high"]), abs(row["low"])))


def table_lines(table: dict[str, Any], width: int | None = None) -> list[str]:
    """One table of a plan as text."""
    rows = [[c if isinstance(c, str) else range_text(c) for c in row] for row in table["rows"]]
    lines = lined_up(table["columns"], rows, inside(width))
    return [*wrapped(table["title"], width), *indented(lines)]


def plan_text(data: dict[str, Any], *, brief: bool = False, width: int | None = None) -> str:
    """The whole plan, its verdict first; `brief` leaves out the secondary tables. width: of a line."""
    lines = wrapped(data["title"], width)
    lines += wrapped(data["verdict"], width)
    for notice in data["notices"]:
        lines += wrapped(notice, width, "! ", "  ")
    lines += ["", *_answer_lines(data, width)]
    for table in data["tables"][:1] if brief else data["tables"]:
        lines += ["", *table_lines(table, width)]
    lines += _matter_lines(data, width)
    if data["remarks"] and not brief:
        lines += ["", "Remarks", *_listed(data["remarks"], width)]
    if data["disagreements"] and not brief:
        said = _disagreements(data["disagreements"])
        lines += ["", "Where sources disagree", *_listed(said, width)]
    return "\n".join(lines)


def _listed(sentences: Sequence[str], width: int | None) -> list[str]:
    """Each as an item."""
    return [line for each in sentences for line in wrapped(each, width, "  - ", "    ")]


def answer_rows(data: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """The headline of a plan: what it is, value, interval, name."""
    rows = []
    for name in data["answers"]:
        row = data["quantities"][name]
        known = uncertain(row)
        value = amount_text(row["value"], row["unit"], 3 if known else 4)
        rows.append((row["about"] or name, value, f"[{band_text(row)}]" if known else "", name))
    return rows


def _answer_lines(data: dict[str, Any], width: int | None) -> list[str]:
    heads = ("", "", "90% interval", "--explain")
    return indented(lined_up(heads, answer_rows(data), inside(width)))


def _matter_lines(data: dict[str, Any], width: int | None) -> list[str]:
    if not data["answers"] or not data["matters"][data["answers"][0]]:
        return []
    first = data["answers"][0]
    answer = data["quantities"][first]
    rows = []
    for swing in data["matters"][first][:5]:
        given = data["quantities"][swing["input"]]
        ends = [amount_text(swing[end], answer["unit"], 3) for end in ("at_low", "at_high")]
        rows.append((swing["input"], range_text(given), " … ".join(ends), given["kind"]))
    heads = ("input", "its interval", answer["about"] or first, "grade")
    return ["", "What matters most", *indented(lined_up(heads, rows, inside(width)))]


def _disagreements(found: Sequence[dict[str, Any]]) -> list[str]:
    said = []
    for row in found:
        others = "; ".join(
            f"{amount_text(other['value'], row['unit'])} ({other['key']}"
            + (f": {other['note']})" if other["note"] else ")")
            for other in row["others"]
        )
        used = amount_text(row["used"], row["unit"])
        said.append(f"{row['name']}: {used} ({row['key']}); also {others}")
    return said


def explained(of: Quantity, draws: Draws, width: int | None = None) -> str:
    """The derivation tree, each quantity with its formula or source key, then the sources in full."""
    lines: list[str] = []
    seen: set[int] = set()
    sources: dict[str, Source] = {}

    def say(text: str, lead: str, below: str) -> None:
        lines.extend([lead + text] if width is None else wrapped(text, width, lead, below))

    def show(quantity: Quantity, lead: str, below: str) -> None:
        found = draws.estimate(quantity)
        row = {"value": found.value, "low": found.low, "high": found.high}
        head = f"{quantity.name} = {range_text(row | {'unit': spell(quantity.unit)})}"
        parents, deeper = named_parents(quantity), f"{below}    "
        if id(quantity) in seen and parents:
            say(f"{head}  (shown above)", lead, deeper)
            return
        seen.add(id(quantity))
        say(head, lead, deeper)
        for reason in _reason(quantity, sources):
            say(reason, deeper, deeper)
        for index, parent in enumerate(parents):
            last = index == len(parents) - 1
            show(parent, below + ("└── " if last else "├── "), below + ("    " if last else "│   "))

    show(of, "", "")
    lines += ["Sources"] if sources else []
    for key, source in sorted(sources.items()):
        say(f"{key}: {_citation(source)}", "  ", "    ")
    return "\n".join(lines)


def _reason(quantity: Quantity, sources: dict[str, Source]) -> list[str]:
    """What it is and where it comes from; notes the sources it cites."""
    about = [quantity.about] if quantity.about else []
    if not isinstance(quantity.origin, Stated):
        return [*about, f"= {quantity.origin.formula}"]
    figure = quantity.origin
    if figure.source.key in ("you", "own"):
        return [*about, f"{figure.kind}: {figure.source.title}"]
    sources[figure.source.key] = figure.source
    lines = [*about, f"{figure.kind}: {figure.source.key}, {figure.date}"]
    lines += [f"note: {figure.note}"] if figure.note else []
    for other in figure.also:
        sources[other.source.key] = other.source
        text = amount_text(other.value, spell(quantity.unit))
        lines.append(f"also: {text} ({other.source.key}{', ' if other.note else ''}{other.note})")
    return lines


def _citation(source: Source) -> str:
    """Title, authors, year, address, and how it was read if not at the source."""
    year = str(source.year) if source.year else ""
    parts = [source.title, source.authors, year, source.url]
    second = f"[{source.read}]" if source.read != "primary" else ""
    return ", ".join(part for part in parts if part) + (f" {second}" if second else "")


def _beyond(value: float, unit: str) -> str:
    """What is no number, in a word."""
    if math.isnan(value):
        return "undefined"
    if value < 0:
        return "−∞"
    return "never" if unit in _TIMES or unit.endswith(("/d", "/day")) else "∞"


def _number(value: float, scale: Scale, digits: int) -> str:
    """A magnitude in its scale: `$1.90`, not `$1.9`; a rounded `$3.00`, not `$3`."""
    number = _digits(value / scale.divisor, digits)
    if not scale.before or scale.divisor != 1.0:
        return number
    if digits < MOST_DIGITS and re.fullmatch(r"-?[1-9]", number):
        return f"{number}.00"
    return f"{number}0" if re.fullmatch(r"-?[0-9]+\.[0-9]", number) else number


def _digits(value: float, digits: int = 4) -> str:
    """So many significant digits, thousands separated, scientific beyond ten million."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e7 or size < 1e-4:
        return f"{value:.{min(digits, 3) - 1}e}".replace("e+", "e").replace("e-0", "e-")
    places = digits - 1 - math.floor(math.log10(size))
    text = f"{round(value, places):,.{max(0, places)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _spoken_unit(unit: str) -> str:
    """Units as people say them."""
    for formal, spoken in _SPOKEN.items():
        unit = unit.replace(formal, spoken)
    return unit
