"""RLOO: the baseline of a completion is the mean reward of the others in its group.

Kool et al. 2019; Ahmadian et al. 2024 (arXiv 2402.14740). Leaving the completion itself out keeps
the baseline independent of it, so the gradient is unbiased at any group size.
"""

import math


def advantages(rewards: tuple[float, ...]) -> tuple[float, ...]:
    """Give reward - mean(other rewards); exactly 0 when all rewards are equal."""
    if min(rewards) == max(rewards):
        return (0.0,) * len(rewards)
    total = math.fsum(rewards)
    others = len(rewards) - 1
    return tuple(reward - (total - reward) / others for reward in rewards)
