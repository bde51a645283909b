"""Two plans side by side: what both answer, the ratio world by world, and which inputs differ.

Both questions are put with the same seed, so that a constant they share takes the same value in every
sampled world: what they share cancels out of the ratio, and its interval is about the difference alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archipel.planning.answering import find, for_json
from archipel.planning.answering import names as known_names
from archipel.planning.asking import Ask
from archipel.planning.layout import indented, inside, lined_up, wrapped
from archipel.planning.mistakes import CannotPlan, nearest
from archipel.planning.plan import Plan
from archipel.planning.quantity import Quantity, Stated, ancestry
from archipel.planning.requests import options_of
from archipel.planning.sampling import Draws, paired_ratio
from archipel.planning.units import compatible, spell
from archipel.planning.wording import range_text

MOST_INPUTS = 14
"""More differing constants are counted, not listed."""


@dataclass(frozen=True)
class Side:
    """One of the two: how it was put, its question, its plan."""

    label: str
    ask: Ask
    plan: Plan


def compared(
    first: tuple[str, Ask], second: tuple[str, Ask], names: Sequence[str] = ()
) -> dict[str, Any]:
    """Both plans as plain data: every answer that both give, and the quantities in `names`.

    The second is put with the seed and the samples of the first.

    Raises:
        CannotPlan: they have no answer in common, or a name that one of them does not have.
    """
    setting = first[1].setting
    again = replace(second[1].setting, seed=setting.seed, samples=setting.samples)
    sides = [_side(*first), _side(second[0], replace(second[1], setting=again))]
    draws = Draws(setting.seed, setting.samples)
    pairs = _pairs(sides, names)
    if not pairs:
        raise CannotPlan(_nothing(sides))
    rows = [_row(a, b, draws) for a, b in pairs]
    left, right = sides
    data = {
        "title": f"A: {left.label}   B: {right.label}",
        "first": _described(left, draws),
        "second": _described(right, draws),
        "rows": rows,
        "options": _options(left, right),
        "inputs": _inputs(left.plan, right.plan),
        "setting": {"seed": setting.seed, "samples": setting.samples},
        "answers": [],
        "matters": {},
    }
    return data | {"charts": [_chart(rows)]}


def compared_text(data: dict[str, Any], width: int | None = None) -> str:
    """The comparison for a terminal. width: of a line."""
    lines: list[str] = []
    for letter, side in zip("AB", _SIDES, strict=True):
        lines += wrapped(
            f"{data[side]['label']}: {data[side]['title']}", width, f"{letter}  ", "   "
        )
    verdicts = [data[side]["verdict"] for side in _SIDES if data[side]["verdict"]]
    for verdict in dict.fromkeys(verdicts):
        lines += wrapped(verdict, width)
    lines += [""]
    rows = [
        (
            row["about"] or row["name"],
            *(_cell(row, side) for side in ("first", "second")),
            _times(row),
        )
        for row in data["rows"]
    ]
    heads = ("", "A", "B", "B / A, same worlds")
    lines += indented(lined_up(heads, rows, inside(width)))
    changed = [
        (r["option"], r["first"] or "default", r["second"] or "default") for r in data["options"]
    ]
    if changed:
        lines += ["", "Options that differ"]
        lines += indented(lined_up(("", "A", "B"), changed, inside(width)))
    inputs = [
        (
            row["name"],
            *(range_text(row[s] | {"unit": row["unit"]}) if row[s] else "–" for s in _SIDES),
        )
        for row in data["inputs"][:MOST_INPUTS]
    ]
    if inputs:
        lines += ["", *wrapped("Constants that differ (– where the plan does not use it)", width)]
        lines += indented(lined_up(("", "A", "B"), inputs, inside(width)))
    hidden = len(data["inputs"]) - MOST_INPUTS
    lines += [f"  and {hidden} more (--json lists them)"] if hidden > 0 else []
    return "\n".join(lines)


_SIDES = ("first", "second")


def _side(label: str, ask: Ask) -> Side:
    return Side(label, ask, ask.plan())


def _described(side: Side, draws: Draws) -> dict[str, Any]:
    plan = side.plan
    return {"label": side.label, "title": plan.title, "verdict": plan.said(draws)} | {
        "ask": for_json(side.ask.saved())
    }


def _pairs(sides: Sequence[Side], names: Sequence[str]) -> list[tuple[Quantity, Quantity]]:
    """The quantities to compare, in the order of the first plan's answers."""
    known = {quantity.name: quantity for quantity in sides[1].plan.answers}
    pairs = [(q, known[q.name]) for q in sides[0].plan.answers if q.name in known]
    for name in names:
        found = [_one(side, name) for side in sides]
        pairs.append((found[0], found[1]))
    return [(a, b) for a, b in pairs if compatible(a.unit, b.unit)]


def _one(side: Side, name: str) -> Quantity:
    found = [quantity for quantity in find(side.plan, name) if quantity.name == name]
    if not found:
        raise nearest(name, known_names(side.plan), f"quantity of {side.label!r}")
    return found[0]


def _row(first: Quantity, second: Quantity, draws: Draws) -> dict[str, Any]:
    unit = spell(first.unit)
    converted = second if second.unit == first.unit else second.to(unit)
    row: dict[str, Any] = {"name": first.name, "about": first.about, "unit": unit}
    for side, quantity in zip(_SIDES, (first, converted), strict=True):
        row[side] = vars(draws.estimate(quantity)).copy()
    return row | {"ratio": _ratio(draws, first, converted)}


def _ratio(draws: Draws, first: Quantity, second: Quantity) -> dict[str, float] | None:
    """The paired ratio; None where it means nothing: a division by nothing, or of never by a year."""
    if np.array_equal(draws.samples(first), draws.samples(second)):
        return {"value": 1.0, "low": 1.0, "high": 1.0}
    with np.errstate(all="ignore"):
        found = vars(paired_ratio(draws, first, second)).copy()
    return found if all(math.isfinite(each) for each in found.values()) else None


def _options(first: Side, second: Side) -> list[dict[str, str]]:
    """Options and settings on which the two were put differently."""
    rows = []
    asked = [{"question": side.ask.question} | _asked(side.ask) for side in (first, second)]
    for name in dict.fromkeys([*asked[0], *asked[1]]):
        a, b = (str(each.get(name, "")) for each in asked)
        if a != b:
            rows.append({"option": name, "first": a, "second": b})
    return rows


def _asked(ask: Ask) -> dict[str, Any]:
    options = {each.name: getattr(ask.request, each.name) for each in options_of(type(ask.request))}
    settings = {
        "as-of": ask.setting.as_of,
        "rents of": ask.setting.region + (", spot" if ask.setting.spot else ""),
        "table": "own" if ask.own else "",
    }
    overrides = dict(text.partition("=")[::2] for text in ask.overrides)
    return options | settings | {f"set {name}": value for name, value in overrides.items()}


def _inputs(first: Plan, second: Plan) -> list[dict[str, Any]]:
    """Constants whose figures differ, then those that only one of the two uses."""
    figures = [_stated(plan) for plan in (first, second)]
    changed: list[dict[str, Any]] = []
    alone: list[dict[str, Any]] = []
    for name in dict.fromkeys([*figures[0], *figures[1]]):
        a, b = (each.get(name) for each in figures)
        ends = [_ends(each) for each in (a, b)]
        shown = a or b
        if ends[0] == ends[1] or shown is None:
            continue
        row = {"name": name, "unit": spell(shown.unit), "first": ends[0], "second": ends[1]}
        (changed if a and b else alone).append(row)
    return [*changed, *alone]


def _stated(plan: Plan) -> dict[str, Quantity]:
    """The constants that the answers rest on."""
    return {q.name: q for q in ancestry(plan.answers) if q.name and isinstance(q.origin, Stated)}


def _ends(of: Quantity | None) -> dict[str, float] | None:
    if of is None or not isinstance(of.origin, Stated):
        return None
    figure = of.origin
    low, high = (figure.value if end is None else end for end in (figure.low, figure.high))
    return {"value": figure.value, "low": low, "high": high}


def _chart(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How much more or less the second is, in percent of the first."""
    parts = [
        {"label": row["about"] or row["name"], "unit": "percent"}
        | {key: 100.0 * (value - 1.0) for key, value in row["ratio"].items()}
        for row in rows
        if row["ratio"]
    ]
    shown = {"title": "B against A, same worlds", "unit": "percent more or less"}
    return {"kind": "bars", "log": False, "parts": parts} | shown


def _cell(row: dict[str, Any], side: str) -> str:
    return range_text(row[side] | {"unit": row["unit"]})


def _times(row: dict[str, Any]) -> str:
    return "× " + range_text(row["ratio"] | {"unit": ""}) if row["ratio"] else "not a ratio"


def _nothing(sides: Sequence[Side]) -> str:
    """Why the two cannot be compared."""
    listed = [", ".join(q.name for q in side.plan.answers[:3]) for side in sides]
    return (
        f"nothing to compare: {sides[0].label!r} answers {listed[0]}, …; {sides[1].label!r} answers "
        f"{listed[1]}, …; compare two plans of one question, or name a quantity both have with --name"
    )
