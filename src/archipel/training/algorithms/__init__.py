"""Rewards of one group into advantages: one short file per algorithm.

Law: an algorithm sees rewards and nothing else, and gives exactly zero to a group whose rewards are
all equal (such a group says nothing about which completion was better).
"""

from collections.abc import Callable

from archipel.records.recipe import AlgorithmSection
from archipel.training.algorithms import grpo, rloo

Advantages = Callable[[tuple[float, ...]], tuple[float, ...]]


def make_advantages(section: AlgorithmSection) -> Advantages:
    """The algorithm that a recipe names."""
    if section.name == "rloo":
        return rloo.advantages
    return grpo.scaled_advantages if section.scale_by_std else grpo.advantages


__all__ = ["Advantages", "make_advantages"]
