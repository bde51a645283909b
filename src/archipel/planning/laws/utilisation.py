"""The share of an accelerator's bf16 peak that a step of training reaches, attention's arithmetic counted.

A power law of the chip's peak, of how many parameters a mixture of experts holds for each that it uses, and of how
many it uses where these are few; `planning/fitting` fits it to documented training. Dense models of 0.1 to 400
billion parameters differ by less than labs do once attention is counted, fleets of 8 to 16,384 too: neither is in it.
"""

from typing import Any

import numpy as np

Numbers = Any

PEAK = 600.0
"""TFLOP/s of the chip that the others are held against, between an A100 and an H100."""
FEW = 2e10
"""Parameters used per token below which a mixture's products are small for the chip."""
MOST = 0.9
"""No step of bf16 products was seen above three quarters; a law that is extended ends here."""


def utilisation(
    peak: Numbers,
    params: Numbers,
    active: Numbers,
    step: Numbers,
    by_peak: Numbers,
    by_experts: Numbers,
    by_few: Numbers,
    apart: Numbers = 1.0,
) -> Numbers:
    """Utilisation in bf16. peak: TFLOP/s; params, active: of the whole model, per token.

    step: of a dense model on a chip of `PEAK`; by_*: exponents; apart: what the kind of chip, its links and
    whatever else is known multiply it by.
    """
    held, few = features(params, active)
    reached = step * (peak / PEAK) ** by_peak * np.exp(by_experts * held + by_few * few) * apart
    return np.minimum(reached, MOST)


def features(params: Numbers, active: Numbers) -> tuple[Numbers, Numbers]:
    """Logarithms of parameters held per parameter used, and of parameters used over `FEW`; both 0 if dense."""
    held = np.maximum(params / active, 1.0)
    return np.log(held), np.minimum(1.0, held - 1.0) * np.minimum(0.0, np.log(active / FEW))
