"""The laws that a sheet's formulas may call, by the names of their functions; each gives units in and out."""

import numpy as np

from archipel.planning.formula import Laws
from archipel.planning.laws import (
    affordable,
    bounded,
    distinguish,
    frontier,
    race,
    reliability,
    returns,
)
from archipel.planning.questions.calling import alike, law
from archipel.planning.questions.lawbook_market import MARKET
from archipel.planning.questions.lawbook_serving import SERVING
from archipel.planning.questions.lawbook_training import TRAINING

_LOSS = "nat/token"
_RACE = [_LOSS, "1", "1", "1", "1"]
"""Start, exponent, shared, own, lead."""
_GROWING = ["FLOP", "1", "1", "1", _LOSS, "1", "FLOP", "1", "FLOP", "1"]
"""Start, lead, then as `race` says."""
_CURVE = [_LOSS, "1", _LOSS, "1", "1", "token/nat", _LOSS]

LAWS: Laws = {
    **TRAINING,
    **MARKET,
    **SERVING,
    "max": alike(np.maximum, "max"),
    "min": alike(np.minimum, "min"),
    "above": alike(lambda a, b: 1.0 * (np.asarray(a) > b), "above", "1"),
    "ceil": alike(np.ceil, "ceil"),
    "finite": alike(lambda a: 1.0 * np.isfinite(a), "finite", "1"),
    "ln": law(np.log, ["1"], "1"),
    "young_interval_h": law(reliability.young_interval_h, ["h", "h"], "h"),
    "daly_interval_h": law(reliability.daly_interval_h, ["h", "h"], "h"),
    "goodput": law(reliability.goodput, ["h", "h", "h", "h"], "1"),
    "reducible_loss": law(frontier.reducible_loss, ["FLOP", _LOSS, "1"], _LOSS),
    "loss_gap": law(frontier.loss_gap, ["year", *_RACE], _LOSS),
    "closed_after": law(frontier.closed_after, [_LOSS, *_RACE], "year"),
    "widest_after": law(frontier.widest_after, ["1", "1", "1", "1"], "year"),
    "spending_ratio_when_widest": law(frontier.spending_ratio_when_widest, ["1", "1", "1"], "1"),
    "halving_years": law(frontier.halving_years, ["1", "1"], "year"),
    "catch_up_years": law(frontier.catch_up_years, ["1", "1", "1"], "year"),
    "scaled_gap": law(race.scaled_gap, ["year", *_GROWING], _LOSS),
    "scaled_closed": law(race.scaled_closed, [_LOSS, *_GROWING], "year"),
    "scaled_widest": law(race.scaled_widest, _GROWING, "year"),
    "score_at": law(race.score_at, ["FLOP", *_CURVE], "1"),
    "points_apart": law(race.points_apart, ["year", "FLOP", "1", "1", "1", *_CURVE], "1"),
    "points_of_doubling": law(race.points_of_doubling, ["FLOP", *_CURVE], "1"),
    "last_doubling_by_points": law(
        race.last_doubling_by_points, ["USD/FLOP", "USD", *_CURVE], "FLOP"
    ),
    "size_gap": law(
        race.size_gap, ["year", "param", "param", "1", "1", _LOSS, "1", "1", "1", "1"], _LOSS
    ),
    "tokens_needed": law(distinguish.tokens_needed, ["1", _LOSS], "token"),
    "elasticity_of_doubling": law(bounded.elasticity_of_doubling, ["year", "1"], "1"),
    "nines_lead": law(bounded.nines_lead, ["1", "1"], "1"),
    "doubling_gain": law(returns.doubling_gain, ["FLOP", _LOSS, "1"], _LOSS),
    "last_doubling_worth_it": law(
        returns.last_doubling_worth_it, ["USD", "USD/FLOP", _LOSS, "1"], "FLOP"
    ),
    "best_research_share": law(returns.best_research_share, ["1", "1"], "1"),
    "split_gain": law(returns.split_gain, ["1", "1", "1"], "1"),
    "most_within": law(
        affordable.most_within,
        ["USD", "USD", *["USD/accelerator", "accelerator"] * 3],
        "accelerator",
    ),
}
"""`above` is 1 where its first amount is more than its second, `finite` where its one is a number; else 0."""
