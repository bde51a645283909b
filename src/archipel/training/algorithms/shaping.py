"""Rewards changed by how long a completion is, before they become advantages. What is reported stays the reward.

| key | what is added to a reward | source |
|---|---|---|
| `overlong_tokens` | 0 up to L - C tokens, then falling linearly to -`overlong_penalty` at L | DAPO, arXiv 2503.14476, eq. 13 |
| `length_weight` | weight x (1/2 - (n - shortest) / (longest - shortest)), for a wrong answer at most 0 | Kimi k1.5, arXiv 2501.12599, 2.3.3 |

L is `sampling.max_new_tokens`, C is `overlong_tokens`, n a completion's tokens, shortest and longest those of its
group. A plain price per token would teach a group of wrong answers to be short; here they are only kept from being
longer than the middle, and a group of equally long completions is left as it is.
"""

from collections.abc import Sequence

from archipel.records.recipe import AlgorithmSection

RIGHT = 1.0 - 1e-9
"""A reward from here up is a right answer."""


def shaped(
    rewards: tuple[float, ...], lengths: Sequence[int], section: AlgorithmSection, most: int
) -> tuple[float, ...]:
    """The rewards of one group as the algorithm sees them. lengths: in tokens. most: `max_new_tokens`."""
    if section.overlong_tokens:
        rewards = tuple(
            reward + section.overlong_penalty * overlong(length, most, section.overlong_tokens)
            for reward, length in zip(rewards, lengths, strict=True)
        )
    if section.length_weight:
        return tuple(
            reward + section.length_weight * (bonus if reward >= RIGHT else min(0.0, bonus))
            for reward, bonus in zip(rewards, brevity(lengths), strict=True)
        )
    return rewards


def overlong(length: int, most: int, margin: int) -> float:
    """From 0 at `most - margin` tokens down to -1 at `most`."""
    return min(0.0, max(-1.0, (most - margin - length) / margin))


def brevity(lengths: Sequence[int]) -> tuple[float, ...]:
    """1/2 for the shortest of a group down to -1/2 for the longest; 0 when all are equally long."""
    shortest, longest = min(lengths), max(lengths)
    if shortest == longest:
        return (0.0,) * len(lengths)
    return tuple(0.5 - (length - shortest) / (longest - shortest) for length in lengths)
