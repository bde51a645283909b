"""The laws that a sheet's formulas may call, by the names of their functions; each gives units in and out."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from archipel.planning.formula import Laws
from archipel.planning.laws import (
    bounded,
    distinguish,
    frontier,
    race,
    reliability,
    returns,
)
from archipel.planning.quantity import Numbers, Quantity, derive, spoken
from archipel.planning.spelling import ATOM, SUM, Spelled, spell_law
from archipel.planning.units import spell

_SIGN = re.compile(" [-+×/−] ")
Law = Callable[[Sequence[Quantity]], Quantity]


def _law(compute: Callable[..., Numbers], units: Sequence[str], result: str) -> Law:
    """A law whose inputs are wanted in `units`, the last ones perhaps left out, and whose result is in `result`."""

    def called(given: Sequence[Quantity]) -> Quantity:
        return derive(
            "", result, list(zip(given, units, strict=False)), compute, _said(compute, given)
        )

    return called


def _alike(compute: Callable[..., Numbers], name: str, result: str | None = None) -> Law:
    """A law of amounts of one kind, taken in the unit of the first."""

    def called(given: Sequence[Quantity]) -> Quantity:
        first = spell(given[0].unit) or "1"
        inputs = [(each, first) for each in given]
        text = f"{name}({', '.join(map(spoken, given))})"
        return derive("", first if result is None else result, inputs, compute, text)

    return called


def _said(compute: Callable[..., Numbers], given: Sequence[Quantity]) -> str:
    """The law over its inputs as it computes them, or its name where that is no line of arithmetic."""
    names = [Spelled(text, SUM if _SIGN.search(text) else ATOM) for text in map(spoken, given)]
    try:
        text = spell_law(compute, names)
    except TypeError:
        text = ""
    return text or f"{compute.__name__}({', '.join(map(spoken, given))})"


_LOSS = "nat/token"
_RACE = [_LOSS, "1", "1", "1", "1"]
"""Start, exponent, shared, own, lead."""
_GROWING = ["FLOP", "1", "1", "1", _LOSS, "1", "FLOP", "1", "FLOP", "1"]
"""Start, lead, then as `race` says."""
_CURVE = [_LOSS, "1", _LOSS, "1", "1", "token/nat", _LOSS]

LAWS: Laws = {
    "max": _alike(np.maximum, "max"),
    "min": _alike(np.minimum, "min"),
    "above": _alike(lambda a, b: 1.0 * (np.asarray(a) > b), "above", "1"),
    "ln": _law(np.log, ["1"], "1"),
    "young_interval_h": _law(reliability.young_interval_h, ["h", "h"], "h"),
    "daly_interval_h": _law(reliability.daly_interval_h, ["h", "h"], "h"),
    "goodput": _law(reliability.goodput, ["h", "h", "h", "h"], "1"),
    "reducible_loss": _law(frontier.reducible_loss, ["FLOP", _LOSS, "1"], _LOSS),
    "loss_gap": _law(frontier.loss_gap, ["year", *_RACE], _LOSS),
    "closed_after": _law(frontier.closed_after, [_LOSS, *_RACE], "year"),
    "widest_after": _law(frontier.widest_after, ["1", "1", "1", "1"], "year"),
    "spending_ratio_when_widest": _law(frontier.spending_ratio_when_widest, ["1", "1", "1"], "1"),
    "halving_years": _law(frontier.halving_years, ["1", "1"], "year"),
    "catch_up_years": _law(frontier.catch_up_years, ["1", "1", "1"], "year"),
    "scaled_gap": _law(race.scaled_gap, ["year", *_GROWING], _LOSS),
    "scaled_closed": _law(race.scaled_closed, [_LOSS, *_GROWING], "year"),
    "scaled_widest": _law(race.scaled_widest, _GROWING, "year"),
    "score_at": _law(race.score_at, ["FLOP", *_CURVE], "1"),
    "points_apart": _law(race.points_apart, ["year", "FLOP", "1", "1", "1", *_CURVE], "1"),
    "points_of_doubling": _law(race.points_of_doubling, ["FLOP", *_CURVE], "1"),
    "last_doubling_by_points": _law(
        race.last_doubling_by_points, ["USD/FLOP", "USD", *_CURVE], "FLOP"
    ),
    "size_gap": _law(
        race.size_gap, ["year", "param", "param", "1", "1", _LOSS, "1", "1", "1", "1"], _LOSS
    ),
    "tokens_needed": _law(distinguish.tokens_needed, ["1", _LOSS], "token"),
    "elasticity_of_doubling": _law(bounded.elasticity_of_doubling, ["year", "1"], "1"),
    "nines_lead": _law(bounded.nines_lead, ["1", "1"], "1"),
    "doubling_gain": _law(returns.doubling_gain, ["FLOP", _LOSS, "1"], _LOSS),
    "last_doubling_worth_it": _law(
        returns.last_doubling_worth_it, ["USD", "USD/FLOP", _LOSS, "1"], "FLOP"
    ),
    "best_research_share": _law(returns.best_research_share, ["1", "1"], "1"),
    "split_gain": _law(returns.split_gain, ["1", "1", "1"], "1"),
}
"""`above` is 1 where its first amount is more than its second, else 0."""
