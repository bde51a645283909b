"""Reinforcement learning with far generators: how much generation keeps the learner busy.

ECHO-2 (arXiv 2602.02192): weights are published every kappa learner steps, kappa = S - 1 for a staleness of
S. In that time the learner eats kappa * R rollouts, and one copy of the weights must reach the generators:
it never waits iff T_bcast + kappa R / sum(mu) <= kappa T_train.
"""

from typing import Any

import numpy as np

Numbers = Any


def steps_between_versions(staleness: Numbers) -> Numbers:
    """Kappa = S - 1, and at least every step."""
    return np.maximum(staleness - 1.0, 1.0)


def required_rate(
    kappa: Numbers, rollouts_per_step: Numbers, train_s: Numbers, broadcast_s: Numbers
) -> Numbers:
    """Least rollouts per second, all generators together; infinite if the weights arrive too late."""
    slack = kappa * train_s - broadcast_s
    wanted = kappa * rollouts_per_step
    return np.where(slack > 0, wanted / np.where(slack > 0, slack, 1.0), np.inf)


def learner_share(
    kappa: Numbers,
    rollouts_per_step: Numbers,
    train_s: Numbers,
    broadcast_s: Numbers,
    rate_per_s: Numbers,
) -> Numbers:
    """Share of time in which the learner trains, in 0..1."""
    busy = kappa * train_s
    return busy / np.maximum(busy, broadcast_s + kappa * rollouts_per_step / rate_per_s)
