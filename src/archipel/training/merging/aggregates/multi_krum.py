"""Multi-Krum: the mean of the n - f contributions that have their neighbours nearest; n >= 2f + 3.

The score of one is the sum of its n - f - 2 smallest squared distances to others; of equal scores the lower index is
taken. Distances are between decoded vectors, 0 where nothing was sent; the mean is then the contributors' own.
It always leaves f out, honest ones too where there is no attack. Source: Blanchard et al. 2017.
"""

from collections.abc import Sequence

from archipel.training.exchange.codec import Tensors
from archipel.training.merging.aggregates.mean import contributor_mean
from archipel.training.merging.aggregates.rule import Aggregated, Rule
from archipel.training.merging.contributions import Opened
from archipel.training.merging.sums import squared_distance


def krum_scores(opened: Sequence[Opened], faulty: int) -> list[float]:
    """Of each contribution; the smaller, the more company it has."""
    count = len(opened)
    apart = [[0.0] * count for _ in opened]
    for i in range(count):
        for j in range(i):
            apart[i][j] = apart[j][i] = squared_distance(opened[i].values, opened[j].values)
    nearest = count - faulty - 2
    return [_sum(sorted(line[:at] + line[at + 1 :])[:nearest]) for at, line in enumerate(apart)]


def _sum(values: Sequence[float]) -> float:
    # The built-in sum compensates from Python 3.12 on: other bits.
    total = 0.0
    for value in values:
        total += value
    return total


def _combine(opened: Sequence[Opened], faulty: int, last: Tensors | None) -> Aggregated:
    scores = krum_scores(opened, faulty)
    best = sorted(range(len(opened)), key=lambda at: (scores[at], at))[: len(opened) - faulty]
    kept = set(best)
    chosen = [each for at, each in enumerate(opened) if at in kept]
    weights = tuple(each.weight if at in kept else 0 for at, each in enumerate(opened))
    return Aggregated(contributor_mean(chosen), weights)


MULTI_KRUM = Rule("n >= 2f + 3", lambda faulty: 2 * faulty + 3, takes_sparse=True, combine=_combine)
