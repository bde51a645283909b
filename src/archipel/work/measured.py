"""What an update measured, as the integers that its record holds."""

import math
from dataclasses import asdict

from archipel.training.report import UpdateReport
from archipel.work.kind import WorkFailed

MICRO = 1_000_000


def measured(report: UpdateReport) -> dict[str, int]:
    """Integers for the record: `_micro` are millionths, the rest are counts.

    Raises:
        WorkFailed: a value is not finite: the training has diverged.
    """
    values = asdict(report)
    del values["version"]
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
