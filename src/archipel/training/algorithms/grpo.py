"""GRPO: a completion is as good as its reward exceeds its group's mean.

Shao et al. 2024 (arXiv 2402.03300) also divide by the group's standard deviation; Liu et al. 2025
(arXiv 2503.20783) leave that out, because it weighs up prompts that are nearly solved or hopeless.
"""

import math

STD_FLOOR = 1e-4
"""Added to the standard deviation, so nearly equal rewards do not explode."""


def advantages(rewards: tuple[float, ...]) -> tuple[float, ...]:
    """Give reward - mean(rewards); exactly 0 when all rewards are equal."""
    if min(rewards) == max(rewards):
        return (0.0,) * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    return tuple(reward - mean for reward in rewards)


def scaled_advantages(rewards: tuple[float, ...]) -> tuple[float, ...]:
    """(reward - mean) / (std + 1e-4), std with n - 1 in its denominator."""
    centred = advantages(rewards)
    if not any(centred):
        return centred
    variance = math.fsum(value * value for value in centred) / (len(rewards) - 1)
    scale = math.sqrt(variance) + STD_FLOOR
    return tuple(value / scale for value in centred)
