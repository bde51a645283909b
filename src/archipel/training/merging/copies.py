"""Which contributions are others' over again.

Parts: `CopyTerms`, `alikeness` of two, `copies`, `_is_original`. Contributions that say every coordinate are compared by their direction
(cosine), those that say some by which ones they say: a copy that is scaled or rounded anew is as much a copy. Honest
members that begin at the same weights are alike too, the more the longer or the larger their batches; the bounds stand
above what they were measured to be (docs/explanation/merges.md).
Of two alike, the copy is the one that was answered later, unless somebody can say what texts gain by a contribution: then it
is the one that does not make its own text likelier than the other's, beside what all others make of both. Without that, a
member that does another's work before it makes that other one the copy.
Law: cosines by `sums`, counts by integers: the same verdicts everywhere.
What it does not stop: a copy under much noise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from archipel.training.merging.contributions import Contribution, Opened
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


Gains = Callable[[Opened, Contribution], int]
"""By how much one contribution lowers the loss of the text that another was to be trained on."""


def copies(
    everyone: Sequence[Opened], terms: CopyTerms, gains: Gains | None = None
) -> list[str | None]:
    """Of each why it is a copy, in their order; None: it is none.

    Every two are compared, those that are copies too. gains: None: the order of answers alone says who copied.
    """
    places = sorted(range(len(everyone)), key=lambda at: _answered(everyone[at]))
    found: list[str | None] = [None] * len(everyone)
    for number, at in enumerate(places):
        for before in places[:number]:
            one, other = everyone[at], everyone[before]
            alike = alikeness(one, other)
            if alike > (terms.overlap if _is_sparse(one, other) else terms.cosine):
                by_text = gains is not None and _is_original(one, other, everyone, gains)
                copy, whose = (before, one) if by_text else (at, other)
                found[copy] = found[copy] or _why(alike, whose.contribution, by_text)
    return found


def _is_original(later: Opened, earlier: Opened, everyone: Sequence[Opened], gains: Gains) -> bool:
    """Whether the later of two alike was trained on its own text and not on the other's."""

    def for_own_text(of: Opened) -> int:
        return gains(of, later.contribution) - gains(of, earlier.contribution)

    others = [for_own_text(each) for each in everyone if each is not later and each is not earlier]
    usual = sorted(others)[(len(others) - 1) // 2] if others else 0
    return for_own_text(later) > usual


def _why(alike: float, whose: Contribution, by_text: bool) -> str:
    why = "whose own text it makes likelier" if by_text else "which was answered before it"
    return f"it is {alike:.4f} alike to contribution {whose.index} (age {whose.age}), {why}"


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
