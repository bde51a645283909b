"""Curves of laws for charts: a logarithmic grid, and a 90% band from sampled constants."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from archipel.planning.quantity import Quantity
from archipel.planning.sampling import Draws

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
    low, high = np.percentile(law(*columns), [5.0, 95.0], axis=0)
    return low, high
