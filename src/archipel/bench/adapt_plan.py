"""What `bench adapt` compares: ways of adapting one pretrained model to a text, and the budget that they share.

Parts: `Way`, `WAYS`, `AdaptPlan`. Law: a way differs from another in nothing but its own fields; all of them take the
windows of the same works, and each kind's learning rate is the best of the same candidates on other works.
"""

from dataclasses import dataclass
from typing import Literal

from archipel.training.corpus.assignment import BlockTerms
from archipel.training.exchange import CodecTerms
from archipel.training.inner.terms import InnerTerms
from archipel.training.merging.outer import OuterTerms
from archipel.training.merging.terms import MergeTerms

Kind = Literal["central", "alone", "share", "members"]
EF_DECAY = 0.95
"""Of error feedback, as SparseLoCo has it."""
KEPT_OF_4096 = 64
FLOAT32 = CodecTerms("float32")


@dataclass(frozen=True)
class Way:
    """One way of training on the text."""

    name: str
    kind: Kind
    """central: one optimiser, whose batch is all members'; alone: one that takes their batches one after another, in as
    many times the steps; share: one member's windows and no other's; members: each its own, merged after `every` steps."""
    codec: CodecTerms = FLOAT32
    outer_rate: float = 1.0
    outer_momentum: float = 0.5

    @property
    def tuned_as(self) -> Kind:
        """Whose rate it takes: what one machine does with a member's batches takes the central run's."""
        return "members" if self.kind == "members" else "central"

    @property
    def merging(self) -> MergeTerms:
        """Of members."""
        momentum = self.outer_momentum
        outer = OuterTerms("nesterov" if momentum else "sgd", self.outer_rate, momentum)
        return MergeTerms(self.codec, outer)


WAYS = (
    Way("central", "central"),
    Way("members, e3m0", "members", CodecTerms("e3m0")),
    Way(
        f"members, top_k {KEPT_OF_4096}",
        "members",
        CodecTerms("top_k", KEPT_OF_4096, EF_DECAY),
        outer_momentum=0.0,
    ),
    Way("one member's share", "share"),
    Way("one machine", "alone"),
)
TUNED = WAYS[:2]
"""With these, rates are tried."""


@dataclass(frozen=True)
class AdaptPlan:
    """What is measured."""

    members: int = 3
    versions: int = 4
    """Outer steps."""
    every: int = 8
    """Inner steps between two exchanges."""
    batch: int = 1
    """Windows of one member and inner step."""
    sequence_length: int = 128
    held_out: int = 24
    """Windows of the text that are judged, and were neither learned nor tuned on."""
    tuned_on: int = 8
    """Windows that rates are judged by, none of them held out."""
    tuning_versions: int = 1
    """Outer steps of each trial of a rate."""
    warmup_steps: int = 2
    rates: tuple[float, ...] = (5e-5, 1.5e-4, 4.5e-4)
    """Peak rates that are tried for each kind; one: nothing is tried."""
    seeds: tuple[int, ...] = (0,)
    names: tuple[str, ...] = ()
    """Of ways; none: all."""

    def __post_init__(self) -> None:
        known = [way.name for way in WAYS]
        if unknown := [name for name in self.names if name not in known]:
            raise ValueError(f"got the way {unknown[0]!r:.60}, expected one of: {'; '.join(known)}")
        if not self.rates or min(self.rates) <= 0:
            raise ValueError(f"got the rates {self.rates}, expected at least one, all above 0")

    @property
    def ways(self) -> list[Way]:
        """In order."""
        return [way for way in WAYS if not self.names or way.name in self.names]

    @property
    def steps(self) -> int:
        """Inner steps of a member in the whole run."""
        return self.versions * self.every

    @property
    def tokens(self) -> int:
        """Of all members."""
        return self.members * self.steps * self.batch * self.sequence_length

    @property
    def blocks(self) -> BlockTerms:
        """Of the text, for the run and for the trials of rates after it."""
        return BlockTerms(self.sequence_length, self.every, self.batch, self.members)

    def inner(self, way: Way, rate: float, versions: int) -> InnerTerms:
        """How whoever trains in this way does it."""
        steps = versions * self.every * (self.members if way.kind == "alone" else 1)
        return InnerTerms(
            total_steps=steps,
            batch=self.batch * (self.members if way.kind == "central" else 1),
            sequence_length=self.sequence_length,
            learning_rate=rate,
            warmup_steps=min(self.warmup_steps, steps // 2),
        )


QUICK = AdaptPlan(
    versions=2, every=1, sequence_length=64, held_out=4, tuned_on=2, rates=(1e-4,)
)  # fmt: skip
