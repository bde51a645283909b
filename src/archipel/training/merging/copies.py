"""Which contributions are others' over again: of two that are too much alike, the one that was answered later.

Parts: `CopyTerms`, `alikeness` of two, `copies`. Contributions that say every coordinate are compared by their direction
(cosine), those that say some by which ones they say: a copy that is scaled or rounded anew is as much a copy. Honest
members that begin at the same weights are alike too, the more the longer or the larger their batches; the bounds stand
above what they were measured to be (docs/explanation/merges.md).
Law: cosines by `sums`, counts by integers: the same verdicts everywhere.
What it does not stop: a copy under much noise; one of two that is answered before what it copies, or that agrees beforehand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archipel.training.merging.contributions import Opened
from archipel.training.merging.sums import dot, halved, norm_of


@dataclass(frozen=True)
class CopyTerms:
    """When two contributions are one."""

    cosine: float = 0.97
    """Of two that say every coordinate: above this, in (0, 1]."""
    overlap: float = 0.8
    """Of two that say some: above this share of coordinates that both say, in (0, 1]."""

    def __post_init__(self) -> None:
        if not 0 < self.cosine <= 1 or not 0 < self.overlap <= 1:
            raise ValueError(
                f"cosine is {self.cosine} and overlap {self.overlap}; expected both in (0, 1]"
            )


def copies(everyone: Sequence[Opened], terms: CopyTerms) -> list[str | None]:
    """Of each why it is a copy, in their order; None: it is none.

    One is compared with all that were answered before it, those that are copies too.
    """
    places = sorted(range(len(everyone)), key=lambda at: _answered(everyone[at]))
    found: list[str | None] = [None] * len(everyone)
    for number, at in enumerate(places):
        for before in places[:number]:
            alike = alikeness(everyone[at], everyone[before])
            bound = terms.overlap if _is_sparse(everyone[at], everyone[before]) else terms.cosine
            if alike > bound:
                whose = everyone[before].contribution
                found[at] = (
                    f"it is {alike:.4f} alike to contribution {whose.index} (age {whose.age}), which was answered before"
                    f" it; expected at most {bound:g}"
                )
                break
    return found


def alikeness(one: Opened, other: Opened) -> float:
    """Cosine of two contributions in [-1, 1]; of two that leave coordinates out, the share in [0, 1] that both say.

    The share is of the smaller of both, over tensors that are not said whole.
    """
    if one.sent is not None and other.sent is not None:
        return _overlap(one.sent, other.sent)
    lengths = norm_of(one.values) * norm_of(other.values)
    if not lengths:
        return 0.0
    together = [dot(one.values[name], other.values[name]) for name in sorted(one.values)]
    return max(-1.0, min(1.0, halved(np.array(together)) / lengths))


def _overlap(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float:
    both = mine = theirs = 0
    for name in sorted(one):
        a, b = one[name], other[name]
        if not (a.all() and b.all()):
            both += int(np.count_nonzero(a & b))
            mine += int(np.count_nonzero(a))
            theirs += int(np.count_nonzero(b))
    fewer = min(mine, theirs)
    return both / fewer if fewer else 0.0


def _is_sparse(one: Opened, other: Opened) -> bool:
    return one.sent is not None and other.sent is not None


def _answered(opened: Opened) -> tuple[int, int, int]:
    each = opened.contribution
    return -each.age, each.answered, each.index
