"""What `bench diloco` compares: sizes of model, ways of training across sites, and the budget that all ways share.

Parts: `Size`, `Budget`, `Way`, `Plan`, the tables `SIZES` and `WAYS`.
Law: a way differs from another in nothing but its own fields: same first weights, same windows, same tokens, and rates
that were tuned for each kind of way, synchronous training too.
"""

from dataclasses import dataclass, replace
from typing import Literal

from archipel.model.config import DecoderConfig
from archipel.training.exchange import CodecTerms

Kind = Literal["synchronous", "alone", "alone, a share", "exchange", "streaming"]
EF_DECAY = 0.95
"""Of error feedback, as SparseLoCo has it."""
FLOAT32 = CodecTerms("float32")
VOCABULARY = 256
"""Bytes are the tokens."""


@dataclass(frozen=True)
class Size:
    """A decoder of the Llama family over bytes."""

    hidden: int
    layers: int
    intermediate: int
    heads: int

    def config(self, sequence_length: int) -> DecoderConfig:
        """With room for that many positions."""
        return DecoderConfig(
            family="llama",
            vocab_size=VOCABULARY,
            hidden_size=self.hidden,
            num_layers=self.layers,
            num_heads=self.heads,
            num_kv_heads=self.heads,
            head_dim=self.hidden // self.heads,
            intermediate_size=self.intermediate,
            max_position_embeddings=sequence_length + 1,
        )


SIZES = {
    "50k": Size(32, 2, 96, 2),
    "0.4M": Size(128, 2, 352, 4),
    "1M": Size(160, 3, 448, 4),
    "3M": Size(256, 4, 704, 4),
    "11M": Size(384, 6, 1024, 6),
}
"""Named by their weights, which are 45 k, 0.43, 0.99, 3.3 and 10.7 million."""


@dataclass(frozen=True)
class Budget:
    """What all ways of a measurement have in common."""

    members: int = 4
    steps: int = 240
    """Inner steps of each member; of synchronous training, optimiser steps."""
    batch: int = 4
    """Windows of one member and inner step."""
    sequence_length: int = 64
    start_steps: int = 240
    """One machine trains alone so long, with `batch` windows a step; all ways go on from there."""
    warmup_steps: int = 10
    held_out: int = 512
    """Windows of the last tenth of the text."""

    @property
    def tokens(self) -> int:
        """Of all members, after the start."""
        return self.members * self.steps * self.batch * self.sequence_length


Links = Literal["equal", "slow", "slow up"]
"""Slow: the last member's link is a hundred times slower than the others', or that upwards and ten times downwards."""


@dataclass(frozen=True)
class Way:
    """One way of training."""

    name: str
    kind: Kind
    rate: float
    """Peak of the inner learning rate."""
    optimiser: Literal["adamw", "muon"] = "adamw"
    rest_factor: float = 1.0
    """With muon: the rate of all that AdamW moves, as a multiple of `rate`."""
    every: int = 30
    """Inner steps between two exchanges."""
    codec: CodecTerms = FLOAT32
    outer_rate: float = 1.0
    outer_momentum: float = 0.5
    fragments: int = 1
    delay: int = 0
    mixing: float = 0.0
    links: Links = "equal"
    """Where they are unequal each member's codec follows from the links (`diloco_links`), not from `codec`."""


@dataclass(frozen=True)
class Rates:
    """Peak learning rates of one size, each the best of those tried (LOG); those of 50k are for a quick look."""

    synchronous: float
    alone: float
    inner: float
    """Of the members of all other ways."""
    start: float
    """Of the machine whose weights all ways begin with; constant."""


RATES = {
    "50k": Rates(8e-3, 4e-3, 8e-3, 4e-3),
    "0.4M": Rates(8e-3, 2e-3, 4e-3, 3e-3),
    "1M": Rates(4e-3, 2e-3, 4e-3, 3e-3),
    "3M": Rates(3e-3, 2e-3, 1.5e-3, 2e-3),
    "11M": Rates(2e-3, 1e-3, 8e-4, 1.5e-3),
}
FEW = ("data parallel", "DiLoCo e3m0", "SparseLoCo 128 of 4096, H 15")
"""Ways of the largest size, which takes an hour a way and core."""


def ways(size: str, rate: float | None = None) -> tuple[Way, ...]:
    """All ways of one size, synchronous training first. rate: in place of all of the tuned ones."""
    rates = RATES[size]
    inner = Way("", "exchange", rate or rates.inner)
    sparse = replace(inner, outer_momentum=0.0)
    streaming = replace(inner, kind="streaming", fragments=min(3, SIZES[size].layers))
    e3m0 = CodecTerms("e3m0")
    return (
        Way("data parallel", "synchronous", rate or rates.synchronous),
        Way("one machine", "alone", rate or rates.alone),
        Way("one machine, a share", "alone, a share", rate or rates.alone),
        replace(inner, name="DiLoCo"),
        replace(inner, name="DiLoCo int8", codec=CodecTerms("int8")),
        replace(inner, name="DiLoCo e3m0", codec=e3m0),
        replace(inner, name="DiLoCo e3m0, H 10", every=10, codec=e3m0),
        replace(inner, name="DiLoCo, H 60", every=60),
        replace(streaming, name="Streaming"),
        replace(streaming, name="Streaming e3m0, delayed", codec=e3m0, delay=2, mixing=0.5),
        *(_sparse(sparse, kept, every) for kept, every in SPARSE),
        # Momentum beside error feedback pushes what was carried once more, and ends where it began.
        replace(sparse, name="one link 100x slower", links="slow"),
        replace(inner, name="one link 100x slower up", links="slow up"),
    )


SPARSE = ((128, 15), (256, 30), (64, 15), (64, 30))
"""Of SparseLoCo: values kept of 4096, and inner steps between exchanges."""


def _sparse(way: Way, kept: int, every: int) -> Way:
    codec = CodecTerms("top_k", kept, EF_DECAY)
    return replace(way, name=f"SparseLoCo {kept} of 4096, H {every}", every=every, codec=codec)


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    budget: Budget = Budget()
    sizes: tuple[str, ...] = ("0.4M", "3M", "11M")
    seeds: tuple[int, ...] = ()
    """Of every size; none: each size its own number of them."""
    names: tuple[str, ...] = ()
    """Of ways; none: all of a size."""
    rate: float | None = None
    """Peak learning rate of every way, in place of the tuned ones."""

    def __post_init__(self) -> None:
        known = [way.name for way in ways(self.sizes[0])]
        if unknown := [name for name in self.names if name not in known]:
            raise ValueError(f"got the way {unknown[0]!r:.60}, expected one of: {'; '.join(known)}")
        for size in self.sizes:
            for way in self.ways_of(size):
                if way.kind == "streaming" and self.budget.steps % way.every:
                    raise ValueError(
                        f"got {self.budget.steps} steps, expected a multiple of {way.every}, at which "
                        f"the way {way.name!r} exchanges; or leave it out with --way"
                    )

    @property
    def grounds(self) -> list[tuple[str, int]]:
        """Sizes with their seeds, in order."""
        return [(size, seed) for size in self.sizes for seed in self.seeds or SEEDS[size]]

    def ways_of(self, size: str) -> list[Way]:
        """What is measured of this size."""
        names = self.names or (FEW if size == "11M" else ())
        return [way for way in ways(size, self.rate) if not names or way.name in names]


SEEDS = {"50k": (0, 1), "0.4M": (0, 1, 2), "1M": (0, 1, 2), "3M": (0, 1), "11M": (0,)}
QUICK = Plan(
    budget=Budget(steps=60, batch=4, sequence_length=32, start_steps=60, held_out=128),
    sizes=("50k",),
)
