"""How sure an answer is, from the log-probabilities of its own tokens.

Parts: `signs_of` (what is looked at), `Rising` (isotonic calibration), `Confidence` (both), `calibration_error`.
Sources: quantiles of token log-probabilities as a deferral score, Gupta et al. 2024 (arXiv 2404.10136), after Chow 1970; pool
adjacent violators, Ayer et al. 1955; expected calibration error, Guo et al. 2017 (arXiv 1706.04599).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archipel.serve.cascade.heads import Floats, Head, sigmoid

ALPHAS = (0.0, 0.1, 0.25, 0.5)
"""Quantiles that calibration chooses from; 0 is the least likely token."""
NUM_SIGNS = 4
FLOOR = -50.0
"""Nats; a token that a cut or a grammar left no chance is not rarer than this."""
NUM_BINS = 10


def quantile(logprobs: Sequence[float], alpha: float) -> float:
    """The alpha-quantile of an answer's token log-probabilities, linear between neighbours; of no token the floor."""
    held = sorted(map(_held, logprobs)) or [FLOOR]
    place = alpha * (len(held) - 1)
    low = min(int(place), len(held) - 2)
    if low < 0:
        return held[0]
    return held[low] + (held[low + 1] - held[low]) * (place - low)


def signs_of(logprobs: Sequence[float], alpha: float, gate_logit: float) -> Floats:
    """(NUM_SIGNS,): quantile, mean, logarithm of the length, and what the gate thought of the question."""
    held = [_held(each) for each in logprobs] or [FLOOR]
    mean = math.fsum(held) / len(held)
    return np.array([quantile(logprobs, alpha), mean, math.log1p(len(logprobs)), gate_logit])


def _held(logprob: float) -> float:
    return min(max(logprob, FLOOR), 0.0) if logprob == logprob else FLOOR


@dataclass(frozen=True)
class Rising:
    """A rising broken line from a score within [0, 1] to a chance; (0, 0) and (1, 1) are its ends."""

    at: tuple[float, ...]
    """Scores, rising."""
    value: tuple[float, ...]
    """Chances there, never falling."""

    def __call__(self, score_N: Floats) -> Floats:
        """(N,)."""
        found: Floats = np.interp(score_N, (0.0, *self.at, 1.0), (0.0, *self.value, 1.0))
        return found


def fit_rising(score_N: Floats, y_N: Floats) -> Rising:
    """The least squares rising step function of y over the score, joined through the middles of its steps."""
    order = np.argsort(score_N, kind="stable")
    blocks: list[tuple[float, float, int]] = []  # sum of scores, sum of y, rows
    for score, y in zip(score_N[order], y_N[order], strict=True):
        blocks.append((float(score), float(y), 1))
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][2] >= blocks[-1][1] * blocks[-2][2]:
            (s1, y1, n1), (s0, y0, n0) = blocks.pop(), blocks.pop()
            blocks.append((s0 + s1, y0 + y1, n0 + n1))
    middles = [(s / n, y / n) for s, y, n in blocks]
    inner = [(at, value) for at, value in middles if 0.0 < at < 1.0]
    return Rising(tuple(at for at, _ in inner), tuple(value for _, value in inner))


@dataclass(frozen=True)
class Confidence:
    """How likely an answer of the small model is as good as the large model's would be."""

    alpha: float
    head: Head
    """Over `signs_of`."""
    rising: Rising

    def of(self, logprobs: Sequence[float], gate_logit: float) -> float:
        """A chance."""
        signs = signs_of(logprobs, self.alpha, gate_logit)
        return float(self.rising(sigmoid(self.head.logits(signs[None])))[0])


def calibration_error(chance_N: Floats, y_N: Floats) -> float:
    """Expected calibration error over bins of equal width, weighted by rows."""
    which = np.minimum((chance_N * NUM_BINS).astype(int), NUM_BINS - 1)
    gaps = [
        abs(float(chance_N[which == one].mean() - y_N[which == one].mean()))
        * int((which == one).sum())
        for one in range(NUM_BINS)
        if (which == one).any()
    ]
    return sum(gaps) / len(chance_N)
