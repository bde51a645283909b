"""Which topic a question is of, from the base model's mean hidden state: one independent score for each topic.

Parts: `Space` (what hidden states are measured in), `Topic`, `fit_space`, `fit_topic`. A score is the logarithm of how much likelier the topic makes
the state than all questions together do: Gaussians, the background's whitened, the topic's covariance shrunk. Laws: a topic is fitted on its own examples in a space that stays,
so that one more changes no other's score by a bit; no chance anywhere.
Source: shrinkage towards a multiple of the identity, Ledoit and Wolf 2004 (here of a weight that hangs on the number of examples alone).
"""

from dataclasses import dataclass

import numpy as np

from archipel.serve.cascade.heads import Floats, folds

MAX_DIMENSIONS = 32
LEAST_EXAMPLES = 8
BEYOND_SHARE = 0.02
"""Of a topic's own questions so many may lie beyond its reach."""


class TooFewExamples(ValueError):
    """They say nothing about a topic."""


@dataclass(frozen=True)
class Space:
    """Coordinates of hidden states: the background's principal components at unit variance, and what is left over."""

    mean: Floats
    """(d,)"""
    components: Floats
    """(m, d), of unit length."""
    spreads: Floats
    """(m,) standard deviations of the background along them."""
    rest: tuple[float, float]
    """Mean and standard deviation of the logarithm of the length that no component explains."""

    def of(self, hidden_Nd: Floats) -> Floats:
        """(N, m + 1)."""
        centred = hidden_Nd - self.mean
        along = centred @ self.components.T
        left = np.linalg.norm(centred - along @ self.components, axis=1)
        rest = (np.log(left + 1e-9) - self.rest[0]) / self.rest[1]
        return np.column_stack([along / self.spreads, rest])


@dataclass(frozen=True)
class Topic:
    """One specialist's."""

    name: str
    mean: Floats
    """(m + 1,)"""
    root: Floats
    """(m + 1, m + 1): times its transpose it is the inverse of the covariance."""
    reach: float
    """Squared distance from the mean, in its own spread, beyond which a question is none of its own, whatever its score."""

    def distances(self, coordinates_N: Floats) -> Floats:
        """(N,) squared, in the topic's own spread."""
        found: Floats = (((coordinates_N - self.mean) @ self.root) ** 2).sum(axis=1)
        return found

    def scores(self, coordinates_N: Floats) -> Floats:
        """(N,) nats, against the background."""
        volume = float(np.log(np.abs(np.diag(self.root))).sum())
        found: Floats = volume + 0.5 * (
            (coordinates_N**2).sum(axis=1) - self.distances(coordinates_N)
        )
        return found


def fit_space(hidden_Nd: Floats) -> Space:
    """From questions of all kinds.

    Raises:
        TooFewExamples: fewer than `LEAST_EXAMPLES`.
    """
    num, width = hidden_Nd.shape
    _check(num, "the background")
    mean = hidden_Nd.mean(axis=0)
    _, lengths, components = np.linalg.svd(hidden_Nd - mean, full_matrices=False)
    spreads = lengths / np.sqrt(num - 1)
    count = min(MAX_DIMENSIONS, max(1, num // 4), max(1, width - 1))
    kept = int((spreads[:count] > 1e-6 * max(spreads[0], 1e-12)).sum()) or 1
    components, spreads = components[:kept], np.maximum(spreads[:kept], 1e-12)
    centred = hidden_Nd - mean
    left = np.linalg.norm(centred - centred @ components.T @ components, axis=1)
    rest = np.log(left + 1e-9)
    return Space(mean, components, spreads, (float(rest.mean()), float(max(rest.std(), 1e-3))))


def fit_topic(name: str, space: Space, hidden_Nd: Floats) -> Topic:
    """From a specialist's own questions; the reach is told of examples that the Gaussian was not fitted on.

    Raises:
        TooFewExamples: fewer than `LEAST_EXAMPLES`.
    """
    _check(len(hidden_Nd), name)
    coordinates = space.of(hidden_Nd)
    apart = np.zeros(len(coordinates))
    for seen, held in folds(len(coordinates), 4):
        apart[held] = Topic(name, *_gaussian(coordinates[seen]), 0.0).distances(coordinates[held])
    reach = float(np.quantile(apart, 1.0 - BEYOND_SHARE))
    return Topic(name, *_gaussian(coordinates), reach)


def choose(topics: tuple[Topic, ...], coordinates: Floats) -> tuple[str | None, dict[str, float]]:
    """(the topic with the highest score of those within whose reach it is, or None; all scores) of one question (m + 1,)."""
    scores = {each.name: float(each.scores(coordinates[None])[0]) for each in topics}
    known = [each for each in topics if each.distances(coordinates[None])[0] <= each.reach]
    best = max(known, key=lambda each: scores[each.name], default=None)
    return (None if best is None else best.name), scores


def _gaussian(coordinates: Floats) -> tuple[Floats, Floats]:
    """Mean, and the root of the inverse of the shrunk covariance."""
    num, width = coordinates.shape
    mean = coordinates.mean(axis=0)
    centred = coordinates - mean
    covariance = centred.T @ centred / max(num - 1, 1)
    weight = width / (width + num)
    level = max(float(np.trace(covariance)) / width, 1e-6)
    shrunk = (1 - weight) * covariance + weight * level * np.eye(width)
    return mean, np.linalg.inv(np.linalg.cholesky(shrunk)).T


def _check(num: int, of: str) -> None:
    if num < LEAST_EXAMPLES:
        raise TooFewExamples(
            f"{of} has {num} examples; expected at least {LEAST_EXAMPLES}, better a hundred"
        )
