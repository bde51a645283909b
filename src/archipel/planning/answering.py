"""From a plan to plain data: draws the samples, estimates every quantity, lists what matters.

The data is what `--json` prints and what every other way of showing reads. Law: same plan, seed and
number of samples give the same bytes.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from archipel.planning.mistakes import CannotPlan, Impossible
from archipel.planning.plan import Bars, Cell, Chart, Plan, Table
from archipel.planning.quantity import Derived, Quantity, Stated, ancestry, named_parents
from archipel.planning.sampling import DEFAULT_SAMPLES, MAX_SAMPLES, Draws, Swing
from archipel.planning.units import factor, spell, unit


@dataclass(frozen=True)
class Setting:
    """How a plan is computed: everything but the question itself."""

    seed: int = 0
    samples: int = DEFAULT_SAMPLES
    as_of: str = ""
    region: str = ""
    """Whose rents are taken; empty for the market's middle."""
    spot: bool = False
    """Of what may be taken back at any time."""

    def __post_init__(self) -> None:
        """Refuse what nothing can be computed with."""
        whole = [isinstance(n, int) and not isinstance(n, bool) for n in (self.seed, self.samples)]
        texts = isinstance(self.as_of, str) and isinstance(self.region, str)
        if not all(whole) or not texts or not isinstance(self.spot, bool):
            raise CannotPlan(
                "expected a whole number as seed and as samples, a text as as_of and as region, "
                "and true or false as spot"
            )
        if not 1 <= self.samples <= MAX_SAMPLES:
            raise Impossible(f"--samples: got {self.samples}, expected 1 to {MAX_SAMPLES}")


def answer(plan: Plan, setting: Setting, *, whole: bool = True) -> dict[str, Any]:
    """The plan as plain data; without `whole`, what its first lines need: no table, no chart, few quantities."""
    draws = Draws(setting.seed, setting.samples)
    matters = {quantity.name: draws.swings(quantity) for quantity in plan.answers}
    moving = [swing.input for found in matters.values() for swing in found]
    shown = list(ancestry(_shown(plan) if whole or setting.as_of else plan.answers))
    described = shown if whole else [*plan.answers, *moving]
    return {
        "question": plan.question,
        "title": plan.title,
        "verdict": plan.said(draws),
        "request": plan.request,
        "setting": asdict(setting),
        "answers": [quantity.name for quantity in plan.answers],
        "quantities": {each.name: _described(each, draws) for each in described if each.name},
        "matters": {name: [_swing(each) for each in found] for name, found in matters.items()},
        "tables": [_table(table, draws) for table in plan.tables] if whole else [],
        "charts": [_chart(chart, draws) for chart in plan.charts] if whole else [],
        "remarks": list(plan.remarks),
        "notices": anachronisms(shown, setting.as_of),
        "disagreements": disagreements(shown) if whole else [],
        "second_hand": second_hand(plan.answers, moving),
    }


def for_json(data: Any) -> Any:
    """The same data where an infinite or undefined number is null, as JSON knows neither."""
    if isinstance(data, dict):
        return {key: for_json(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [for_json(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _described(quantity: Quantity, draws: Draws) -> dict[str, Any]:
    """One quantity: value, interval, unit, and where it comes from."""
    row: dict[str, Any] = {**_estimate(quantity, draws), "about": quantity.about}
    if isinstance(quantity.origin, Derived):
        named = list(dict.fromkeys(each.name for each in named_parents(quantity)))
        return row | {"kind": "derived", "formula": quantity.origin.formula, "from": named}
    figure = quantity.origin
    row |= {"kind": figure.kind, "source": vars(figure.source).copy(), "date": figure.date}
    row |= {"note": figure.note} if figure.note else {}
    if figure.also:
        row["also"] = [
            {"value": other.value, "source": vars(other.source).copy(), "note": other.note}
            for other in figure.also
        ]
    return row


def _swing(swing: Swing) -> dict[str, Any]:
    """One row of a tornado: which input moves the answer how far."""
    return {"input": swing.input.name, "at_low": swing.at_low, "at_high": swing.at_high}


def second_hand(
    answers: Sequence[Quantity], first: Sequence[Quantity] = ()
) -> list[dict[str, str]]:
    """The inputs of the answers that nobody here read at their source, those in `first` before others."""
    inputs = {each.name: each for each in (*first, *ancestry(answers))}
    return [
        {"name": name, "about": each.about, "read": figure.source.read, "key": figure.source.key}
        for name, each in inputs.items()
        if isinstance(figure := each.origin, Stated) and figure.source.read != "primary"
    ]


def disagreements(shown: Sequence[Quantity]) -> list[dict[str, Any]]:
    """Every input on which two sources differ, with both."""
    found = []
    for quantity in shown:
        figure = quantity.origin
        if isinstance(figure, Stated) and figure.also:
            others = [
                {
                    "value": other.value,
                    "key": other.source.key,
                    "source": other.source.title,
                    "note": other.note,
                }
                for other in figure.also
            ]
            row = {"name": quantity.name, "used": figure.value, "unit": spell(quantity.unit)}
            source = {"key": figure.source.key, "source": figure.source.title}
            found.append(row | source | {"others": others})
    return found


def anachronisms(shown: Sequence[Quantity], as_of: str) -> list[str]:
    """What was not known yet at the date asked for, and is used all the same."""
    later = [
        f"{quantity.name} ({quantity.origin.vintage})"
        for quantity in shown
        if isinstance(quantity.origin, Stated)
        and as_of
        and quantity.origin.vintage[: len(as_of)] > as_of
    ]
    listed = ", ".join(later[:6]) + (f" and {len(later) - 6} more" if len(later) > 6 else "")
    return [f"Not known as of {as_of}, used at its first vintage: {listed}"] if later else []


def quantity(plan: Plan, name: str) -> Quantity | None:
    """The quantity of this name, if the plan has it; no more of the plan is made than that takes."""
    return plan.find(name) or named(plan).get(name)


def find(plan: Plan, name: str) -> list[Quantity]:
    """Every quantity of the plan whose name is `name` or begins or ends with it."""
    if (found := quantity(plan, name)) is not None:
        return [found]
    return [q for n, q in named(plan).items() if n.endswith("." + name) or n.startswith(name)]


def named(plan: Plan) -> dict[str, Quantity]:
    """Every quantity of the plan that has a name, by it."""
    return {quantity.name: quantity for quantity in ancestry(_shown(plan)) if quantity.name}


def names(plan: Plan) -> list[str]:
    """The name of every quantity of the plan."""
    return list(named(plan))


def _estimate(quantity: Quantity, draws: Draws, into: str = "") -> dict[str, Any]:
    found = draws.estimate(quantity)
    scale = factor(quantity.unit, unit(into)) if into else 1.0
    row = {key: value * scale for key, value in vars(found).items()}
    return row | {"unit": into or spell(quantity.unit)}


def _shown(plan: Plan) -> list[Quantity]:
    """What the answers, tables and bars of a plan show."""
    cells = [cell for table in plan.tables for row in table.rows for cell in row]
    bars = [part for chart in plan.charts if isinstance(chart, Bars) for _, part in chart.parts]
    return [*plan.answers, *(cell for cell in cells if isinstance(cell, Quantity)), *bars]


def _table(table: Table, draws: Draws) -> dict[str, Any]:
    def cell(value: Cell) -> Any:
        if isinstance(value, str):
            return value
        return {"name": value.name, **_estimate(value, draws)}

    rows = [[cell(value) for value in row] for row in table.rows]
    return {"title": table.title, "about": table.about, "columns": table.columns, "rows": rows}


def _chart(chart: Chart, draws: Draws) -> dict[str, Any]:
    if not isinstance(chart, Bars):
        series = [{k: _plain(v) for k, v in asdict(line).items()} for line in chart.series]
        return {"kind": "lines", **asdict(chart), "series": series}
    parts = [{"label": label, **_estimate(q, draws, chart.unit)} for label, q in chart.parts]
    return {
        "kind": "bars",
        "title": chart.title,
        "unit": chart.unit,
        "log": chart.log,
        "parts": parts,
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else [float(each) for each in value]
