"""Extra compute that loosely coupled training needs for the same loss, growing with the number of sites.

Epoch (Sevilla 2025) prints 1.5 times for 8 groups and 6 times for 10,000; one power law, n^0.195, passes
through both. The scaling laws of DiLoCo (Charles et al. 2025, arXiv 2503.09799) fit the loss of n replicas
as L = A N^-alpha n^beta at 20 tokens per parameter, where compute grows as N^2: the factor on compute that
wins the loss back is n^(2 beta / alpha).
"""

from typing import Any

import numpy as np

Numbers = Any

PARAMS_EXPONENT_OF_COMPUTE = 2.0
"""C = 6 N D with D in proportion to N."""


def penalty(sites: Numbers, exponent: Numbers) -> Numbers:
    """Compute of `sites` loosely coupled sites over that of one, at equal loss; 1 for one site."""
    return np.power(sites, exponent)


def exponent_of_loss_fit(alpha: Numbers, beta: Numbers) -> Numbers:
    """The exponent of `penalty` that a loss law N^-alpha n^beta implies at fixed tokens per parameter."""
    return PARAMS_EXPONENT_OF_COMPUTE * beta / alpha


def exponent_through(sites: Numbers, factor: Numbers) -> Numbers:
    """The exponent of the power law through (1, 1) and one published point."""
    return np.log(factor) / np.log(sites)
