"""What is no contribution at all: the first gate, before anything is computed with it.

Parts: `opened` (payload, counts), `within` (length against the others'). The payload's own form (size, table of
tensors, scales, indices, finite values) is its codec's to refuse.
"""

from collections.abc import Sequence

from archipel.training.exchange import BadContribution, Codec
from archipel.training.exchange.table import Shapes
from archipel.training.merging.clipping import lower_median
from archipel.training.merging.contributions import MAX_TOKENS, Contribution, Opened
from archipel.training.merging.sums import norm_of

MAX_STEPS = 1 << 20
MAX_AGE = 1 << 10


def opened(contribution: Contribution, codec: Codec, shapes: Shapes) -> Opened:
    """One contribution, read.

    Raises:
        BadContribution: its counts are out of bounds, or its payload is none of this codec and these tensors.
    """
    for name, value, low, high in (
        ("tokens", contribution.tokens, 1, MAX_TOKENS),
        ("steps", contribution.steps, 1, MAX_STEPS),
        ("age", contribution.age, 0, MAX_AGE),
    ):
        if not low <= value <= high:
            raise BadContribution(f"{name} are {value}, expected {low} to {high}")
    decoded = codec.decode(contribution.payload, shapes)
    return Opened(contribution, decoded.values, decoded.sent)


def within(everyone: Sequence[Opened], bound: float) -> list[str | None]:
    """Of each why it is too long; None: it is not.

    bound: how many times the lower median of all lengths one may have; that median is an honest length while fewer than
    half are faulty.
    """
    lengths = [norm_of(each.values) for each in everyone]
    if not lengths:
        return []
    limit = bound * lower_median(lengths)
    return [
        None
        if length <= limit
        else f"its length is {length:.6g}, expected at most {limit:.6g}, {bound:g} times the median of all"
        for length in lengths
    ]
