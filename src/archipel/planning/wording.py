"""A plan's data in words: amounts people can read, tables that line up, all plain text."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archipel.planning.layout import indented, inside, lined_up, section, wrapped

_SCALES = ((1e12, " T"), (1e9, " B"), (1e6, " M"))
_LARGE = tuple(suffix for _, suffix in _SCALES)
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
MOST_HINGES, MOST_NAMES, MOST_TOLD, MOST_ANSWERS, ALL_HINGES = 3, 3, 2, 6, 8
"""What a plan has room for: inputs that move its first answer, read second-hand (by name, in words), answers."""
READ = {"secondary": "read second-hand", "memory": "from memory"}
"""How a figure was read, if not at its source."""
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


def plan_text(
    data: dict[str, Any], *, tables: bool = False, brief: bool = False, width: int | None = None
) -> str:
    """A plan as text: the answer, what it hinges on, the headline; then, if wanted, everything else.

    tables: with every name, table, remark and disagreement; brief: without the headline. width: of a line.
    """
    lines = wrapped(data["title"], width)
    lines += wrapped(data["verdict"], width)
    for notice in data["notices"]:
        lines += wrapped(notice, width, "! ", "  ")
    lines += _hinge_lines(data, width, tables)
    if not brief:
        lines += ["", *_answer_lines(data, width, tables)]
    lines += ["", *wrapped(second_hand_text(data, tables), width)] if data["second_hand"] else []
    if not tables:
        return "\n".join(lines)
    for table in data["tables"]:
        lines += ["", *table_lines(table, width)]
    lines += section("Remarks", data["remarks"], width)
    lines += section("Where sources disagree", _disagreements(data["disagreements"]), width)
    return "\n".join(lines)


@dataclass(frozen=True)
class Hinge:
    """An input that moves the first answer, in words."""

    name: str
    about: str
    interval: str
    ends: str
    """What the answer becomes at both ends of the input."""
    grade: str


def hinges(data: dict[str, Any], most: int = MOST_HINGES) -> list[Hinge]:
    """The inputs that move the first answer most."""
    found = []
    for first in _hinging(data):
        answer = data["quantities"][first]
        for swing in data["matters"][first][:most]:
            name = swing["input"]
            given = data["quantities"][name]
            ends = _ends(swing, answer)
            found.append(
                Hinge(name, given["about"] or name, range_text(given), ends, given["kind"])
            )
    return found


def _hinging(data: dict[str, Any]) -> list[str]:
    """The first answer that any input moves: what was given as an amount is moved by none."""
    return [name for name in data["answers"] if data["matters"][name]][:1]


def _ends(swing: dict[str, Any], answer: dict[str, Any]) -> str:
    """What an answer becomes at both ends of an input, its unit said once: `8 B to 13 B parameters`."""
    digits = digits_of(answer)
    low, high = (
        _in_words(amount_text(swing[end], answer["unit"], digits)) for end in ("at_low", "at_high")
    )
    unit = low.rpartition(" ")[2]
    alike = " " in low and high.endswith(f" {unit}") and f" {unit}" not in _LARGE
    return f"{low.removesuffix(f' {unit}') if alike else low} to {high}"


def _hinge_lines(data: dict[str, Any], width: int | None, tables: bool) -> list[str]:
    """The first of them; with their names if everything is shown."""
    said = [
        f"{each.about}{f' ({each.name})' if tables else ''}, {each.interval}"
        f"{', assumed' if each.grade == 'assumed' else ''}: {each.ends}"
        for each in hinges(data, ALL_HINGES if tables else MOST_HINGES)
    ]
    about = data["quantities"][_hinging(data)[0]]["about"] if said else ""
    return section(f"What it hinges on: {about}", said, width)


def second_hand_text(data: dict[str, Any], named: bool = False) -> str:
    """Which inputs nobody here read at their source, in words or by name; nothing if all were."""
    said = []
    for read, how in READ.items():
        rows = [row for row in data["second_hand"] if row["read"] == read]
        told = dict.fromkeys(row["name"] if named else row["about"] or row["name"] for row in rows)
        most = MOST_NAMES if named else MOST_TOLD
        more = f" and {len(told) - most} more" if len(told) > most else ""
        said += [f"{how}: {', '.join(list(told)[:most])}{more}"] if told else []
    where = "plan constants NAME" if named else "--tables names them"
    return f"Rests on figures {'; '.join(said)} ({where})." if said else ""


def answer_rows(data: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """The headline of a plan: what it is, value, interval, name."""
    rows = []
    for name in data["answers"]:
        row = data["quantities"][name]
        band = f"[{band_text(row)}]" if uncertain(row) else ""
        rows.append((row["about"] or name, value_text(row), band, name))
    return rows


def _answer_lines(data: dict[str, Any], width: int | None, tables: bool) -> list[str]:
    """With their names if everything is shown; else the first ones."""
    if tables:
        heads = ("", "", "90% interval", "--explain")
        return indented(lined_up(heads, answer_rows(data), inside(width)))
    rows = [row[:3] for row in answer_rows(data)[:MOST_ANSWERS]]
    return indented(lined_up(("", "", "90% interval"), rows, inside(width)))


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
    if not scale.before or scale.divisor != 1.0 or scale.after.startswith(_LARGE):
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
