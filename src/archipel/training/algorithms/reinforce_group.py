"""REINFORCE++ with the group's mean as baseline: GRPO's advantages on one scale for the whole batch.

Hu et al. 2025 (arXiv 2501.03262, REINFORCE++-baseline). A group's own standard deviation weighs up prompts whose
rewards hardly differ; the batch's does not.
"""

from collections.abc import Sequence

from archipel.training.algorithms import grpo
from archipel.training.algorithms.reinforce import scaled


def advantages(rewards: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """(reward - mean(group)) / std over the batch of these; 0 for a group whose rewards are equal."""
    return scaled([grpo.advantages(group) for group in rewards])
