"""One pseudo-gradient from many: a file for each rule, and a row for each here.

Parts: `rule` (what a rule is, and going through coordinates a stretch at a time), `mean`, `multi_krum`, `median`,
`trimmed_mean`, `centred_clip`; `AGGREGATES`, `aggregated`.
Law: pure; contributions come in the order of their indices, and every sum over them runs in that order.
"""

from collections.abc import Sequence
from typing import Literal

from archipel.training.exchange.codec import Tensors
from archipel.training.merging.aggregates.centred_clip import CENTRED_CLIP
from archipel.training.merging.aggregates.mean import MEAN
from archipel.training.merging.aggregates.median import MEDIAN
from archipel.training.merging.aggregates.multi_krum import MULTI_KRUM
from archipel.training.merging.aggregates.rule import Aggregated, Rule
from archipel.training.merging.aggregates.trimmed_mean import TRIMMED_MEAN
from archipel.training.merging.contributions import NothingToMerge, Opened

AggregateName = Literal["mean", "multi_krum", "median", "trimmed_mean", "centred_clip"]
AGGREGATES: dict[AggregateName, Rule] = {
    "mean": MEAN,
    "multi_krum": MULTI_KRUM,
    "median": MEDIAN,
    "trimmed_mean": TRIMMED_MEAN,
    "centred_clip": CENTRED_CLIP,
}


def aggregated(
    name: AggregateName, opened: Sequence[Opened], faulty: int, last: Tensors | None = None
) -> Aggregated:
    """What one rule makes of contributions to one version.

    faulty: how many of them may be wrong on purpose. last: the aggregate of the step before; None: there was none.

    Raises:
        NothingToMerge: they are too few for this rule and so many faulty ones, or sent some coordinates only, which
            this rule would take for zeros.
    """
    rule = AGGREGATES[name]
    fewest = rule.fewest(faulty)
    if len(opened) < fewest:
        raise NothingToMerge(
            f"{len(opened)} contributions are left; {name} with {faulty} faulty takes at least {fewest} ({rule.condition}):"
            " wait for more, or open the run with more members, fewer faulty ones or another aggregate"
        )
    if not rule.takes_sparse and any(each.sent is not None for each in opened):
        raise NothingToMerge(
            f"contributions sent some coordinates only, and {name} would take the others for zeros; open the run with"
            " mean or multi_krum, or with a codec that sends all"
        )
    return rule.combine(opened, faulty, last)
