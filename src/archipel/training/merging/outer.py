"""The outer optimiser: the aggregate of an outer step and a memory of those before -> the next weights.

nesterov: b <- mu b + g, w <- w - lr (g + mu b). sgd: w <- w - lr g. Every operation is one of float32, rounded once,
in the order in which it is written. b begins with 0, so the first nesterov step is lr (1 + mu) g: with mu = 0.9 it is
1.9 times as long as a step of sgd, and where pseudo-gradients stay alike, steps grow to 1 / (1 - mu) = 10 times.
Sources: DiLoCo (nesterov, 0.7 and 0.9), SparseLoCo (sgd, with error feedback as the only memory).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from archipel.training.exchange.codec import Tensors

MOMENTUM = "momentum."
"""Before a weight's name: its momentum in the memory."""


@dataclass(frozen=True)
class OuterTerms:
    """How far an outer step goes."""

    optimiser: Literal["nesterov", "sgd"]
    lr: float
    momentum: float = 0.0
    """Of nesterov alone."""

    def __post_init__(self) -> None:
        if self.optimiser not in ("nesterov", "sgd"):
            raise ValueError(f"optimiser is {self.optimiser!r:.40}; expected nesterov or sgd")
        if not 0 < self.lr <= 1000 or not 0 <= self.momentum < 1:
            raise ValueError(
                f"lr is {self.lr} and momentum {self.momentum}; expected lr in (0, 1000] and momentum in [0, 1)"
            )
        if self.optimiser == "sgd" and self.momentum:
            raise ValueError(
                f"sgd has no momentum, and {self.momentum} was given; leave it out, or take nesterov"
            )


def outer_step(
    weights: Tensors, memory: Tensors, aggregate: Tensors, terms: OuterTerms
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(weights of the next version, momentum of the next step); all float32, nothing is changed in place.

    memory: `momentum.NAME` for each weight; one that is missing is 0. sgd keeps none.
    """
    lr, mu = np.float32(terms.lr), np.float32(terms.momentum)
    made, kept = dict[str, np.ndarray](), dict[str, np.ndarray]()
    for name in sorted(weights):
        step = aggregate[name]
        if terms.optimiser == "nesterov":
            before = memory.get(MOMENTUM + name)
            momentum = step.copy() if before is None else mu * before + step
            kept[MOMENTUM + name] = momentum
            step = step + mu * momentum
        made[name] = weights[name] - lr * step
    return made, kept
