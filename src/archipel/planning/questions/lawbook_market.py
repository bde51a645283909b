"""The laws of sites far apart and of a market that a sheet's formulas may call: exchanges, churn, penalties, asks."""

from archipel.planning.formula import Laws
from archipel.planning.laws import (
    batch,
    churn,
    clearing,
    site_penalty,
    staleness,
    synchronisation,
)
from archipel.planning.questions.calling import law

_HOURLY = "USD/(accelerator*h)"
_WIRE, _LINE = "bit/param", "bit/s"
_MTBF = "accelerator*h/failure"

MARKET: Laws = {
    "batch_tokens": law(batch.batch_tokens, ["1", "FLOP", "1", "token"], "token"),
    "clearing_price": law(clearing.clearing_price, [_HOURLY, "1", "1"], _HOURLY),
    "average_price": law(clearing.average_price, [_HOURLY, "1", "1"], _HOURLY),
    "log_spread": law(clearing.log_spread, ["1", "1"], "1"),
    "log_spread_of_tail": law(clearing.log_spread_of_tail, [_HOURLY, _HOURLY], "1"),
    "elastic_goodput": law(churn.elastic_goodput, ["1/h", "h", "h"], "1"),
    "blocking_goodput": law(churn.blocking_goodput, ["1/h", "site", "h", "h"], "1"),
    "cluster_goodput": law(churn.cluster_goodput, [_MTBF, "accelerator", "h", "h"], "1"),
    "penalty": law(site_penalty.penalty, ["site", "1"], "1"),
    "exponent_of_loss_fit": law(site_penalty.exponent_of_loss_fit, ["1", "1"], "1"),
    "exponent_through": law(site_penalty.exponent_through, ["1", "1"], "1"),
    "naive_seconds": law(synchronisation.naive_seconds, ["param", _WIRE, _LINE], "s"),
    "largest_params": law(synchronisation.largest_params, ["s", _WIRE, _LINE], "param"),
    "ring_seconds": law(synchronisation.ring_seconds, ["bit", "site", _LINE], "s"),
    "gather_seconds": law(
        synchronisation.gather_seconds, ["bit", "bit", "site", _LINE, _LINE], "s"
    ),
    "broadcast_seconds": law(synchronisation.broadcast_seconds, ["bit", _LINE], "s"),
    "exposed_seconds": law(synchronisation.exposed_seconds, ["s", "s", "1"], "s"),
    "busy_share": law(synchronisation.utilisation, ["s", "s"], "1"),
    "steps_between_versions": law(staleness.steps_between_versions, ["1"], "1"),
    "required_rate": law(staleness.required_rate, ["1", "rollout", "s", "s"], "rollout/s"),
    "learner_share": law(staleness.learner_share, ["1", "rollout", "s", "s", "rollout/s"], "1"),
}
