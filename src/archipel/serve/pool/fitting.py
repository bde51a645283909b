"""What fits on a pool's devices at all, and what looking for pipelines may cost."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from archipel.serve.pool.laying import Measures

MAX_EFFORT = 60_000
"""Places of pipelines looked at in one search: what a processor does in some tenths of a second."""
MAX_TIMES_SLOWER = 4.0
"""For one stream a further pipeline is of use up to here; a request had better wait for the first."""


@dataclass
class Effort:
    """What a search has cost."""

    limit: int = MAX_EFFORT
    spent: int = field(default=0)

    @property
    def left(self) -> bool:
        return self.spent < self.limit


def ends(measures: Measures, free: Sequence[int]) -> tuple[int, int] | None:
    """The two ends by which these devices hold the most layers as one pipeline; None: nobody can be an end.

    With E and H as its ends a pipeline of all holds the sum of `middle`, and first[E] - middle[E] + last[H] - middle[H]
    more: so it is enough to look at the two best of each.
    """
    firsts, lasts = (
        sorted(
            (each for each in free if room[each] > 0),
            key=lambda each, room=room: (measures.middle[each] - room[each], each),  # type: ignore[misc]
        )[:2]
        for room in (measures.first, measures.last)
    )
    pairs = [(one, other) for one in firsts for other in lasts if one != other]
    lost = [
        measures.middle[one] - measures.first[one] + measures.middle[other] - measures.last[other]
        for one, other in pairs
    ]
    return pairs[lost.index(min(lost))] if pairs else None


def most_layers(measures: Measures, free: Sequence[int]) -> int:
    """How many layers the best pipeline over some of these devices can hold."""
    alone = max((measures.only[each] for each in free), default=0)
    pair = ends(measures, free)
    if pair is None or measures.num_layers < 2:  # every device of a pipeline holds a layer
        return alone
    between = sum(measures.middle[each] for each in free if each not in pair)
    return max(alone, measures.first[pair[0]] + measures.last[pair[1]] + between)
