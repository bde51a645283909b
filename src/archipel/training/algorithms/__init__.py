"""Rewards of a batch into advantages: one short file per algorithm.

Law: an algorithm sees rewards and nothing else, and gives exactly zero where they say nothing about which
completion was better: to a group whose rewards are all equal, or, where the whole batch is the baseline, to a batch.
"""

from collections.abc import Callable, Sequence

from archipel.records.recipe import AlgorithmSection
from archipel.training.algorithms import grpo, reinforce, reinforce_group, rloo

Advantages = Callable[[Sequence[tuple[float, ...]]], list[tuple[float, ...]]]
"""Rewards of each group of a batch -> advantages of each."""


def make_advantages(section: AlgorithmSection) -> Advantages:
    """The algorithm that a recipe names."""
    if section.name == "reinforce":
        return reinforce.advantages
    if section.name == "reinforce_group":
        return reinforce_group.advantages
    if section.name == "rloo":
        return _by_group(rloo.advantages)
    return _by_group(grpo.scaled_advantages if section.scale_by_std else grpo.advantages)


def _by_group(advantages: Callable[[tuple[float, ...]], tuple[float, ...]]) -> Advantages:
    return lambda groups: [advantages(rewards) for rewards in groups]


__all__ = ["Advantages", "make_advantages"]
