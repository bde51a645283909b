"""What the next doubling buys, when it stops paying, and how much to spend on better methods instead.

Along a compute-optimal law L(C) = A C^-α + L0 a doubling removes A C^-α (1 − 2^-α) nat per token and costs as
much as everything before it. With a worth per nat the last doubling that pays has a closed form; with a worth
per benchmark point it is the last crossing on a grid. The split between methods and compute maximises
(1 − s) (1 + s B / S)^φ: s the share for research, B the budget, S the spending at which research begins to
show, φ the elasticity of efficiency to research spending; for B far above S the optimum is φ/(1+φ), so that
one to one (Thompson) means φ = 1.
"""

from typing import Any

import numpy as np

Numbers = Any


def doubling_gain(flop: Numbers, coefficient: Numbers, exponent: Numbers) -> Numbers:
    """Loss that the next doubling of compute removes, in nat per token."""
    return coefficient * np.power(flop, -exponent) * (1.0 - np.power(2.0, -exponent))


def last_doubling_worth_it(
    worth_per_nat: Numbers, price_per_flop: Numbers, coefficient: Numbers, exponent: Numbers
) -> Numbers:
    """Compute in FLOP beyond which the next doubling costs more than its loss is worth.

    Solves worth · A C^-α (1 − 2^-α) = price · C.
    """
    drop = coefficient * (1.0 - np.power(2.0, -exponent))
    return np.power(worth_per_nat * drop / price_per_flop, 1.0 / (1.0 + exponent))


def last_crossing(grid: Numbers, worth: Numbers, cost: Numbers) -> Numbers:
    """The largest point of `grid` at which worth still covers cost; 0 where it never does.

    `grid` has one row per point; worth and cost may have one column per sample. Between the two points
    around the crossing the ratio is taken as a straight line in logarithms.
    """
    ratio = np.log(np.maximum(worth, 1e-300)) - np.log(cost)
    ratio, points = np.broadcast_arrays(ratio, np.log(grid))
    pays = ratio >= 0.0
    last = pays.shape[0] - 1 - np.argmax(pays[::-1], axis=0)
    after = np.minimum(last + 1, pays.shape[0] - 1)
    here, there = _at(ratio, last), _at(ratio, after)
    step = np.where(here > there, here / np.where(here > there, here - there, 1.0), 0.0)
    place = _at(points, last) + np.clip(step, 0.0, 1.0) * (_at(points, after) - _at(points, last))
    return np.where(pays.any(axis=0), np.exp(place), 0.0)


def best_research_share(scale: Numbers, elasticity: Numbers) -> Numbers:
    """Share of the budget for better methods; `scale` is budget over the spending that begins to show."""
    return np.clip((elasticity - 1.0 / scale) / (1.0 + elasticity), 0.0, 1.0)


def split_gain(share: Numbers, scale: Numbers, elasticity: Numbers) -> Numbers:
    """Effective compute of a split, over spending everything on compute."""
    return (1.0 - share) * np.power(1.0 + share * scale, elasticity)


def _at(rows: Numbers, index: Numbers) -> Numbers:
    """One entry per column."""
    return np.take_along_axis(rows, np.expand_dims(index, 0), axis=0)[0]
