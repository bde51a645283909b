"""How many tokens one optimiser step takes.

DeepSeek LLM (arXiv 2401.02954, section 3.1): the best batch grows with the compute of the run as
B = 0.2920 C^0.3271 (tokens, FLOP). Many accelerators need at least one sequence each.
"""

from typing import Any

import numpy as np

Numbers = Any


def optimal_tokens(coefficient: Numbers, flop: Numbers, exponent: Numbers) -> Numbers:
    """The best batch in tokens for a run of `flop`."""
    return coefficient * np.power(flop, exponent)


def batch_tokens(coefficient: Numbers, flop: Numbers, exponent: Numbers, least: Numbers) -> Numbers:
    """The best batch, or one sequence per accelerator if that is more."""
    return np.maximum(optimal_tokens(coefficient, flop, exponent), least)
