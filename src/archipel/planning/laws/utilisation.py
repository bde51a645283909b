"""The share of an accelerator's bf16 peak that a step of training reaches, attention's arithmetic counted.

A power law of the chip's peak, of how many parameters a mixture of experts holds for each that it uses, and of how
far a model is too small to fill a chip; `planning/fitting` fits it to documented training. Dense models of 20 to 400
billion parameters differ by less than labs do once attention is counted, fleets of 8 to 16,384 too: neither is in it.
"""

from typing import Any, NamedTuple

import numpy as np

Numbers = Any

PEAK = 600.0
"""TFLOP/s of the chip that the others are held against, between an A100 and an H100."""
FILLED = 312.0
"""TFLOP/s (A100) up to which small models were as fast as large ones."""
SLOWEST = 120.0
"""TFLOP/s of the slowest chips documented; slower ones are taken as these."""
LARGE = 2e10
"""Parameters used per token from which on every chip is filled."""
MOST = 0.9
"""No step of bf16 products was seen above three quarters; a law that is extended ends here."""


class By(NamedTuple):
    """Exponents of the chip's peak, of a mixture's experts and of what small models lose on fast chips."""

    peak: Numbers
    experts: Numbers
    small: Numbers


def utilisation(peak: Numbers, params: Numbers, active: Numbers, level: Numbers, by: By) -> Numbers:
    """Utilisation in bf16. peak: TFLOP/s; params, active: of the whole model, per token.

    level: of a large dense model on a chip of `PEAK`, times what the kind of chip and its links change.
    """
    faster, experts, small = features(peak, params, active)
    reached = level * np.exp(by.peak * faster + by.experts * experts + by.small * small)
    return np.minimum(reached, MOST)


def features(peak: Numbers, params: Numbers, active: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """What the exponents go with, as logarithms.

    The peak over `PEAK`; parameters held per parameter used; how far the model is below `LARGE`, as often as the
    chip is beyond `FILLED`.
    """
    experts = np.log(np.maximum(params / active, 1.0))
    small = np.minimum(0.0, np.log(active / LARGE)) * np.maximum(0.0, np.log(peak / FILLED))
    return np.log(np.maximum(peak, SLOWEST) / PEAK), experts, small
