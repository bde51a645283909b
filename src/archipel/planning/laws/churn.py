"""Members that leave: what share of paid time ends up in the model.

Leaving is a Poisson process per member. Elastic methods (DiLoCo and its kin, rollouts) lose what the one
member did since its last exchange, half a round on average, and the time until its successor works.
Blocking methods (data parallel) stop everybody: the loss is counted as in `reliability`, in the form that
stays positive however often members leave. All times in one unit, rates in its inverse.
"""

from typing import Any

import numpy as np

from archipel.planning.laws.reliability import young_interval_h

Numbers = Any


def elastic_goodput(rate: Numbers, round_time: Numbers, rejoin: Numbers) -> Numbers:
    """Share of one member's paid time that is kept, in 0..1; independent of how many others there are."""
    return 1.0 / (1.0 + rate * (round_time / 2.0 + rejoin))


def blocking_goodput(
    rate: Numbers, members: Numbers, checkpoint: Numbers, restart: Numbers
) -> Numbers:
    """Share kept when any departure stops all `members`, with Young's interval between checkpoints.

    To first order `reliability.goodput`; a departure costs a restart and half an interval.
    """
    together = np.maximum(rate * members, np.finfo(float).tiny)
    interval = young_interval_h(checkpoint, 1.0 / together)
    saving = interval / (interval + checkpoint)
    return saving / (1.0 + together * (restart + (interval + checkpoint) / 2.0))


def cluster_goodput(mtbf: Numbers, size: Numbers, checkpoint: Numbers, restart: Numbers) -> Numbers:
    """Share kept by one cluster of `size` accelerators of which one fails every `mtbf` on average."""
    return blocking_goodput(1.0 / mtbf, size, checkpoint, restart)
