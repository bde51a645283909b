"""The frontier's race as people notice it: when progress depends on scale, in benchmark points, by the doubling.

Each puts laws of `frontier`, `algorithmic`, `bounded` and `scaling` together. Compute in FLOP, loss in nat per
token, years; `growing` is hardware, investment, coefficient, exponent and the four numbers of a `Scale`; `law`
is coefficient, exponent, floor of the loss and floor, span, steepness, middle of the benchmark curve.
"""

from typing import Any

import numpy as np

from archipel.planning.laws import algorithmic, bounded, frontier, returns, scaling

Numbers = Any
YEARS = np.linspace(0.0, 120.0, 181)
"""Years searched when progress depends on scale."""
FINE = np.linspace(0.0, 30.0, 121)
"""Years searched for the widest gap when progress depends on scale."""
SEARCH = np.logspace(19, 32, 131)
"""FLOP: where the last doubling that pays is looked for."""


def scaled_gap(years: Numbers, start: Numbers, lead: Numbers, *growing: Numbers) -> Numbers:
    """The gap in loss after `years`, which may be a column, when progress depends on scale."""
    hardware, own, coefficient, exponent, *rest = growing
    scale = algorithmic.Scale(*rest)
    fixed = algorithmic.effective_compute(start, years, hardware, scale)
    led = algorithmic.effective_compute(start * lead, years, hardware * own, scale)
    fixed_loss, led_loss = (frontier.reducible_loss(c, coefficient, exponent) for c in (fixed, led))
    return fixed_loss - led_loss


def scaled_closed(threshold: Numbers, *path: Numbers) -> Numbers:
    """The last year in which that gap reaches the threshold; `path` as `scaled_gap` takes it after the years."""
    return _one(algorithmic.falls_below(YEARS, _gaps(YEARS, path), threshold))


def scaled_widest(*path: Numbers) -> Numbers:
    """The year in which that gap is widest."""
    return _one(algorithmic.where_widest(FINE, _gaps(FINE, path)))


def score_at(flop: Numbers, *law: Numbers) -> Numbers:
    """Share of the benchmark that a run of so much compute solves."""
    coefficient, exponent, floor, *curve = law
    return bounded.score(floor + frontier.reducible_loss(flop, coefficient, exponent), *curve)


def points_apart(
    years: Numbers, start: Numbers, lead: Numbers, shared: Numbers, own: Numbers, *law: Numbers
) -> Numbers:
    """Benchmark points between the frontier and the fixed budget after `years`."""
    fixed = start * np.power(shared, years)
    led = fixed * lead * np.power(own, years)
    return 100.0 * (score_at(led, *law) - score_at(fixed, *law))


def points_of_doubling(flop: Numbers, *law: Numbers) -> Numbers:
    """Benchmark points that a doubling adds."""
    return 100.0 * (score_at(2.0 * flop, *law) - score_at(flop, *law))


def last_doubling_by_points(price: Numbers, worth: Numbers, *law: Numbers) -> Numbers:
    """Largest compute whose doubling is worth its cost; `price` in USD per FLOP, `worth` of a point in USD."""
    grid = SEARCH[:, None]
    gains = points_of_doubling(grid, *(np.atleast_1d(each) for each in law))
    return _one(returns.last_crossing(grid, gains * worth, grid * price))


def size_gap(
    years: Numbers, small: Numbers, large: Numbers, rate: Numbers, growth: Numbers, *fit: Numbers
) -> Numbers:
    """Loss of a size that grows by `rate` above one that grows by `growth`, the parameters' term alone."""
    led = large * np.power(growth, years)
    run = np.minimum(small * np.power(rate, years), led)
    of = scaling.Fit(*fit)
    return scaling.params_term(run, of) - scaling.params_term(led, of)


def _gaps(years: Numbers, path: tuple[Numbers, ...]) -> Numbers:
    """One row per year, one column per sample."""
    columns = [np.atleast_1d(each) for each in path]
    width = max(int(each.size) for each in columns)
    return np.broadcast_to(scaled_gap(years[:, None], *columns), (len(years), width))


def _one(found: Numbers) -> Numbers:
    return found if found.size > 1 else float(found[0])
