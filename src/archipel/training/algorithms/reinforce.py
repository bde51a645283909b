"""REINFORCE++: a completion is as good as its reward exceeds the batch's mean, on the scale of the batch.

Hu et al. 2025 (arXiv 2501.03262). A group whose rewards are all equal pushes as well, up or down as the batch did
worse or better: whatever is answered to a hard task becomes rarer, to an easy one likelier, which the group as baseline avoids
(`reinforce_group`).
"""

import math
from collections.abc import Sequence

STD_FLOOR = 1e-8
"""Added to the standard deviation."""


def advantages(rewards: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """(reward - mean(batch)) / std(batch); exactly 0 when all rewards of the batch are equal."""
    flat = [reward for group in rewards for reward in group]
    if min(flat) == max(flat):
        return [(0.0,) * len(group) for group in rewards]
    mean = math.fsum(flat) / len(flat)
    return scaled([tuple(reward - mean for reward in group) for group in rewards])


def scaled(values: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Divided by the standard deviation of all of them (n - 1 in its denominator), not moved; zeros stay zeros."""
    flat = [value for group in values for value in group]
    mean = math.fsum(flat) / len(flat)
    spread = math.fsum((value - mean) ** 2 for value in flat) / max(1, len(flat) - 1)
    scale = math.sqrt(spread) + STD_FLOOR
    return [tuple(value / scale for value in group) for group in values]
