"""What an update measured, as the integers that its record holds."""

import math
from dataclasses import asdict

from archipel.training.report import UpdateReport
from archipel.training.routing import RoutingReport
from archipel.work.kind import WorkFailed

MICRO = 1_000_000
MAX_EXPERTS_TOLD = 8
"""A version has room for so many metrics more (`records.fields.MAX_METRICS`)."""


def measured(report: UpdateReport) -> dict[str, int]:
    """Integers for the record: `_micro` are millionths, the rest are counts.

    Raises:
        WorkFailed: a value is not finite: the training has diverged.
    """
    values = asdict(report) | _of_routers(report.routing)
    del values["version"], values["routing"]
    named = {"reward_mean": "reward"}
    metrics = {}
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise WorkFailed(f"{name} is {value} after this update: the training has diverged")
        if isinstance(value, float):
            metrics[f"{named.get(name, name)}_micro"] = round(value * MICRO)
        else:
            metrics[name] = int(value)
    return metrics


def _of_routers(routing: RoutingReport | None) -> dict[str, float]:
    """Of a mixture of experts; the load of each expert where they are few."""
    if routing is None:
        return {}
    values = asdict(routing)
    load = values.pop("load")
    each = {f"expert_{number}_load": share for number, share in enumerate(load)}
    return {f"router_{name}": value for name, value in values.items()} | (
        each if len(load) <= MAX_EXPERTS_TOLD else {}
    )
