"""A market of asks: what the cheapest sufficient part of it costs.

Asks are taken as log-normal: a median and a spread of logarithms. Filling a fleet from the cheapest ask
upwards takes a share q of what is on offer; the last one taken asks the q-quantile (the clearing price),
the mean of those taken is the mean of the distribution cut there. Standard results, e.g. Aitchison and
Brown (1957). The spread follows from the dearest over the cheapest of k observed prices by the expected
range of k normal values (Blom 1958).
"""

import functools
from statistics import NormalDist
from typing import Any

import numpy as np

Numbers = Any

_REACH, _STEPS = 8.0, 4001


@functools.cache
def _grid() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The standard normal distribution, finely tabulated: far closer than any price is known."""
    places = np.linspace(-_REACH, _REACH, _STEPS)
    return places, np.array([NormalDist().cdf(place) for place in places])


def normal_share(z: Numbers) -> Numbers:
    """The share of a standard normal distribution below `z`."""
    places, shares = _grid()
    return np.interp(z, places, shares)


def normal_quantile(share: Numbers) -> Numbers:
    """The place below which `share` of a standard normal distribution lies."""
    places, shares = _grid()
    return np.interp(share, shares, places)


def log_spread(dearest_over_cheapest: Numbers, observed: Numbers) -> Numbers:
    """Standard deviation of log prices, from the range of `observed` many."""
    widest = normal_quantile((observed - 0.375) / (observed + 0.25))
    return np.log(dearest_over_cheapest) / (2.0 * widest)


def log_spread_of_tail(median: Numbers, low: Numbers) -> Numbers:
    """Standard deviation of log prices, from the median and the 5th percentile."""
    return np.log(median / low) / -normal_quantile(0.05)


def clearing_price(median: Numbers, spread: Numbers, share: Numbers) -> Numbers:
    """What the dearest of the cheapest `share` of the market asks, in the unit of `median`."""
    return median * np.exp(spread * normal_quantile(share))


def average_price(median: Numbers, spread: Numbers, share: Numbers) -> Numbers:
    """The mean ask of the cheapest `share` of the market, in the unit of `median`."""
    below = normal_share(normal_quantile(share) - spread)
    return median * np.exp(np.square(spread) / 2.0) * below / share
