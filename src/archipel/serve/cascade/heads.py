"""A linear head that says how likely something is: ridge logistic regression, and how its strength is chosen.

Parts: `Head`, `fit_head` (Newton's method), `folds`, `out_of_fold`, `strength_for`. Law: the same numbers give the same head; no chance anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
STRENGTHS = (1.0, 10.0, 100.0, 1000.0)
"""Of the ridge, in units of one standardised weight's square."""
NUM_FOLDS = 5
NEWTON_STEPS = 50
MAX_LOGIT = 30.0


@dataclass(frozen=True)
class Head:
    """sigmoid(weights . x + bias)."""

    weights: Floats
    """(d,)"""
    bias: float

    def logits(self, x_Nd: Floats) -> Floats:
        """(N,), held within what a probability can tell apart."""
        found: Floats = np.clip(x_Nd @ self.weights + self.bias, -MAX_LOGIT, MAX_LOGIT)
        return found


def sigmoid(logits: Floats) -> Floats:
    """Elementwise."""
    found: Floats = 1.0 / (1.0 + np.exp(-logits))
    return found


def fit_head(x_Nd: Floats, y_N: Floats, strength: float = 1.0) -> Head:
    """The head that says y best, its weights held small.

    y_N: what is to be said, from 0 to 1. strength: of the ridge on standardised weights.
    """
    mean, spread = x_Nd.mean(axis=0), x_Nd.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    z = np.column_stack([(x_Nd - mean) / spread, np.ones(len(x_Nd))])
    ridge = np.full(z.shape[1], strength)
    ridge[-1] = 1e-3  # of the bias: enough that one-sided data keep it finite
    theta = np.zeros(z.shape[1])
    for _ in range(NEWTON_STEPS):
        chance = sigmoid(np.clip(z @ theta, -MAX_LOGIT, MAX_LOGIT))
        slope = z.T @ (chance - y_N) + ridge * theta
        bend = (z.T * (chance * (1 - chance))) @ z + np.diag(ridge)
        step = np.linalg.solve(bend, slope)
        theta -= step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-9:
            break
    weights = theta[:-1] / spread
    return Head(weights, float(theta[-1] - weights @ mean))


def folds(
    num: int, parts: int = NUM_FOLDS
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """(rows that are fitted on, rows that are held out), each held out once: of so many parts, dealt out in turn."""
    place = np.arange(num)
    for part in range(min(parts, num)):
        held = place % parts == part
        yield place[~held], place[held]


def out_of_fold(x_Nd: Floats, y_N: Floats, strength: float = 1.0) -> Floats:
    """(N,) logits, each by a head that did not see its row."""
    found = np.zeros(len(x_Nd))
    for seen, held in folds(len(x_Nd)):
        found[held] = fit_head(x_Nd[seen], y_N[seen], strength).logits(x_Nd[held])
    return found


def loss_of(logits_N: Floats, y_N: Floats) -> float:
    """Mean of nats that y costs under these logits."""
    return float(np.mean(np.logaddexp(0.0, logits_N) - y_N * logits_N))


def strength_for(x_Nd: Floats, y_N: Floats) -> float:
    """The one of `STRENGTHS` with the least loss on folds that were not fitted on."""
    return min(STRENGTHS, key=lambda one: loss_of(out_of_fold(x_Nd, y_N, one), y_N))
