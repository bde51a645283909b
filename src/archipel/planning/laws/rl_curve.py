"""Reinforcement learning: what accelerator-hours buy, and why most of them are spent generating.

The compute curve is Khatri et al. 2025 (ScaleRL, arXiv 2510.13786), equation 1:
    R(C) = R0 + (A - R0) / (1 + (C_mid/C)^B),
a pass rate that rises from R0 to the ceiling A, half-way at C_mid accelerator-hours, with steepness B.
It was fitted from about 1,500 accelerator-hours on and tested up to 100,000; it is not a power law.
A rollout token costs a forward pass to generate, at the poor utilisation of decoding, and a forward and a
backward pass to learn from.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Numbers = Any
GENERATE, LEARN = 2.0, 6.0
"""FLOP per active parameter and rollout token: forward pass, and forward and backward pass."""


@dataclass(frozen=True)
class Curve:
    """One recipe's curve; shares in 0..1, `midpoint` in accelerator-hours."""

    start: Numbers
    asymptote: Numbers
    midpoint: Numbers
    exponent: Numbers


def pass_rate(hours: Numbers, curve: Curve) -> Numbers:
    """Share of tasks passed after `hours` accelerator-hours."""
    with np.errstate(divide="ignore", over="ignore"):
        rise = 1.0 / (1.0 + np.power(np.divide(curve.midpoint, hours), curve.exponent))
    return curve.start + (curve.asymptote - curve.start) * rise


def generation_inefficiency(hours_ratio: Numbers) -> Numbers:
    """How many times the accelerator-time of a training FLOP a generated FLOP takes.

    `hours_ratio` is what runs publish: accelerator-hours of generating per accelerator-hour of learning.
    """
    return hours_ratio * LEARN / GENERATE


def generation_share(hours_ratio: Numbers) -> Numbers:
    """Share of all accelerator-hours that generate."""
    return hours_ratio / (1.0 + hours_ratio)
