"""How a run merges: all that is decided before anybody contributes."""

from dataclasses import dataclass

from archipel.training.exchange import CodecTerms
from archipel.training.merging.aggregates import AGGREGATES, AggregateName
from archipel.training.merging.copies import CopyTerms
from archipel.training.merging.loss_gate import GateTerms
from archipel.training.merging.outer import OuterTerms


@dataclass(frozen=True)
class MergeTerms:
    """Of every merge of a run."""

    codec: CodecTerms
    """How contributions are written."""
    outer: OuterTerms
    aggregate: AggregateName = "mean"
    faulty: int = 0
    """How many contributions of one merge may be wrong on purpose; `mean` does not look at it."""
    gate: GateTerms | None = None
    """None: no loss gate."""
    clip: bool = True
    """Whether tensors are cut to the median length."""
    length_bound: float = 10.0
    """Times the median length of all contributions that one may have. Members that take unequal numbers of steps differ by
    their ratio at most, so it stands above the largest ratio that a run allows."""
    copies: CopyTerms | None = None
    """None: contributions may be alike."""

    def __post_init__(self) -> None:
        if self.aggregate not in AGGREGATES:
            raise ValueError(
                f"aggregate is {self.aggregate!r:.40}; expected one of {', '.join(AGGREGATES)}"
            )
        if self.faulty < 0 or not 1 <= self.length_bound <= 1e6:
            raise ValueError(
                f"faulty is {self.faulty} and length_bound {self.length_bound}; expected faulty at least 0 and"
                " length_bound 1 to 1e6"
            )
        if self.codec.name == "top_k" and not AGGREGATES[self.aggregate].takes_sparse:
            raise ValueError(
                f"{self.aggregate} takes coordinates that were not sent for zeros, and top_k sends few; take mean or"
                " multi_krum, or another codec"
            )

    @property
    def fewest(self) -> int:
        """Contributions that one merge takes after its gates."""
        return AGGREGATES[self.aggregate].fewest(self.faulty)
