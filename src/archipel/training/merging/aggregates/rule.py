"""What a rule of aggregation is: how many it takes, whether it understands what was not sent, and the rule itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from archipel.training.exchange.codec import Tensors
from archipel.training.merging.contributions import Opened
from archipel.training.merging.sums import chunks, flat


@dataclass(frozen=True)
class Aggregated:
    """One pseudo-gradient and who is in it."""

    values: Tensors
    """float32."""
    weights: tuple[int, ...]
    """Of each contribution, in their order; 0: it was left out."""


@dataclass(frozen=True)
class Rule:
    """A row of the table."""

    condition: str
    """On n contributions of which f are faulty, in words."""
    fewest: Callable[[int], int]
    """(f) -> the smallest n."""
    takes_sparse: bool
    """Whether coordinates may be left unsent."""
    combine: Callable[[Sequence[Opened], int, Tensors | None], Aggregated]
    """(contributions, f, the aggregate of the step before)."""


def by_stretches(
    tensors: Sequence[np.ndarray], combine: Callable[[Sequence[np.ndarray]], np.ndarray]
) -> np.ndarray:
    """float32 of the shape of each: `combine` of their coordinates, one stretch of all of them after the other."""
    lines = [flat(each) for each in tensors]
    made = np.empty(lines[0].size, np.float32)
    for part in chunks(made.size):
        made[part] = combine([line[part] for line in lines])
    return made.reshape(tensors[0].shape)


def coordinatewise(
    opened: Sequence[Opened], combine: Callable[[Sequence[np.ndarray]], np.ndarray]
) -> dict[str, np.ndarray]:
    """`by_stretches` of every tensor."""
    names = sorted(opened[0].values)
    return {name: by_stretches([each.values[name] for each in opened], combine) for name in names}


def in_order(parts: Sequence[np.ndarray]) -> np.ndarray:
    """(m, n) float32: every coordinate's values from the smallest to the largest, both zeros as one."""
    # 0.0 + -0.0 is 0.0: which of two equal numbers a sort puts first is the machine's choice.
    made = np.stack(parts) + np.float32(0)
    made.sort(axis=0)
    return made
