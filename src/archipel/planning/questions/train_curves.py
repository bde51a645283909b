"""Curves for charts: a logarithmic grid, a 90% band from sampled constants, days against the fleet."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from archipel.planning.laws import reliability
from archipel.planning.plan import Lines, Series
from archipel.planning.quantity import Quantity
from archipel.planning.questions.train_fleet import LEAST_GOODPUT, Fleet, centre
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

_WORLDS = 200


def log_grid(least: float, most: float, points: int) -> Any:
    """Points at equal ratios."""
    return np.geomspace(least, most, points)


def band(constants: Sequence[Quantity], law: Callable[..., Any]) -> tuple[Any, Any]:
    """5th and 95th percentile of `law` over sampled constants, point by point of its grid.

    `law` takes the constants in order, each a column of worlds, and returns worlds × points.
    """
    draws = Draws(0, _WORLDS)
    columns = [np.broadcast_to(draws.samples(each), (_WORLDS,))[:, None] for each in constants]
    low, high = np.percentile(law(*columns), [5.0, 95.0], axis=0, method="nearest")
    return low, high


def days_chart(fleet: Fleet, hours: Quantity, shelf: Shelf) -> Lines:
    """How long the same work takes on fewer or more accelerators, failures included."""
    count = centre(fleet.count)
    counts = log_grid(max(1.0, count / 16.0), count * 16.0, 50)
    names = ("reliability.mtbf", "reliability.checkpoint.blocking", "reliability.restart")
    units = ("accelerator*h/failure", "h", "h")
    constants = [shelf[name].to(unit) for name, unit in zip(names, units, strict=True)]
    work = hours * fleet.goodput

    def law(kept: Any, mtbf: Any, saving: Any, restart: Any) -> Any:
        between = reliability.mtbf_hours(mtbf, counts)
        interval = reliability.young_interval_h(saving, between)
        useful = np.maximum(reliability.goodput(between, saving, restart, interval), LEAST_GOODPUT)
        return kept / useful / counts / 24.0

    low, high = band([work, *constants], law)
    middle = law(*(centre(each) for each in (work, *constants)))
    return Lines(
        f"Days against the number of {fleet.kind}",
        "accelerators",
        "days",
        (Series("failures included", counts, middle, low, high),),
        log_x=True,
        log_y=True,
        mark_x=((count, "this plan"),),
    )
