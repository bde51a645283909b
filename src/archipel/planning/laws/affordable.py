"""How many machines a sum buys and keeps, where what each costs grows in steps with how many there are."""

from functools import reduce
from typing import Any

import numpy as np

Numbers = Any


def most_within(money: Numbers, fixed: Numbers, *steps: Numbers) -> Numbers:
    """The largest whole number n with fixed + n · each(n) <= money, in machines.

    steps: what each costs, and up to how many machines; then what each costs beyond, and so on; the last has no end.
    No step is cheaper than the one before.
    """
    room = np.maximum(money - fixed, 0.0)
    ends = (*steps[1::2], np.inf)
    fits = [
        np.minimum(np.floor(room / each), end) for each, end in zip(steps[::2], ends, strict=True)
    ]
    return reduce(np.maximum, fits)
