"""When a machine of one's own is cheaper than asking somebody else's: a fixed cost against a price per token."""

from typing import Any

import numpy as np

Numbers = Any


def mixed_price(price_in: Numbers, price_out: Numbers, prompt: Numbers, answer: Numbers) -> Numbers:
    """The price of a token of requests that read `prompt` tokens and write `answer`."""
    return (price_in * prompt + price_out * answer) / (prompt + answer)


def break_even(fixed: Numbers, hosted: Numbers, marginal: Numbers) -> Numbers:
    """Tokens in the time of `fixed` above which owning is cheaper; never where a token alone costs more."""
    gain = np.asarray(hosted, dtype=float) - np.asarray(marginal, dtype=float)
    per = np.asarray(fixed, dtype=float)
    return np.where(gain > 0, per / np.where(gain > 0, gain, 1.0), np.inf)
