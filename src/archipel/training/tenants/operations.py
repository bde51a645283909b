"""What a tenant asks of its adapter, in order, and what comes of each.

Parts: `Datum`, `ForwardBackward`, `OptimStep` (asked); `Scored`, `Stepped`, `Refused` (what came of it).
Law: arrays are read-only, one-dimensional and of the types named here; whoever makes one of these has checked it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

LossName = Literal[
    "cross_entropy", "importance_sampling", "ppo", "cispo", "dro", "gspo", "stable_reinforce"
]

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Datum:
    """One sequence, and what its loss needs at each of its places."""

    tokens_T: Array  # noqa: N815 - shape suffix
    """int32: what the model reads; at place t it says what comes after token t."""
    inputs: Mapping[str, Array]
    """By name, each (T,): target_tokens int64; weights, logprobs, advantages, mask float32."""


@dataclass(frozen=True, eq=False)
class ForwardBackward:
    """Score every datum, and add the loss's gradient to the adapter's, unless `forward_only`."""

    data: tuple[Datum, ...]
    loss: LossName
    config: Mapping[str, float] = field(default_factory=dict)
    """The loss's own constants by name; what is missing has its default."""
    forward_only: bool = False


@dataclass(frozen=True)
class OptimStep:
    """One step of AdamW with the gradient gathered since the last one, which is then zero."""

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-12
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    """Of the whole gradient; 0: none."""


Operation = ForwardBackward | OptimStep


@dataclass(frozen=True, eq=False)
class Scored:
    """What came of a `ForwardBackward`."""

    logprobs: tuple[Array, ...]
    """Of each datum, float32 (T,): nats of its target tokens."""
    metrics: Mapping[str, float]
    """`loss:sum` among them."""


@dataclass(frozen=True)
class Stepped:
    """What came of an `OptimStep`."""

    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Refused:
    """The operation makes no sense, or its numbers are not finite; the tenant's state is as it was before it."""

    reason: str
    """One sentence: what was got, what was expected, what to do."""


Outcome = Scored | Stepped | Refused
