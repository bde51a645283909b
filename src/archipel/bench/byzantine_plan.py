"""What `bench byzantine` compares: attacks, defences, and the budget that all cells share.

Parts: `Defence`, `DEFENCES`, `Plan`, `QUICK`. A cell is an attack, a defence and a codec with a seed. Law: a cell differs
from another in nothing but those: same first weights, same text, same rates.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from archipel.bench.diloco_plan import Budget, Size
from archipel.bench.pretrain_attacks import ATTACKS, NONE, Attack
from archipel.training.exchange import CodecTerms
from archipel.training.merging.aggregates import AGGREGATES, AggregateName
from archipel.training.merging.copies import CopyTerms
from archipel.training.merging.loss_gate import GateTerms
from archipel.training.merging.outer import OuterTerms
from archipel.training.merging.terms import MergeTerms

ANY_LENGTH = 1e6
"""Times the median: no bound on lengths."""


@dataclass(frozen=True)
class Defence:
    """How contributions are merged."""

    name: str
    aggregate: AggregateName = "mean"
    clip: bool = False
    gate: GateTerms | None = None
    copies: CopyTerms | None = None
    length_bound: float = ANY_LENGTH
    has_assigned: bool = False
    """Whether the judge has the text that was assigned to each."""
    only: tuple[str, ...] = ()
    """Attacks that it is measured with; none: all."""

    def terms(self, codec: CodecTerms, outer: OuterTerms, faulty: int) -> MergeTerms:
        """Of every merge."""
        return MergeTerms(
            codec, outer, self.aggregate, faulty, self.gate, self.clip, self.length_bound, self.copies
        )  # fmt: skip


MEAN = Defence("mean")
DEFAULT = Defence("gate, clip", clip=True, gate=GateTerms(), length_bound=10.0)
WITH_COPIES = Defence(
    "gate, clip, copies", clip=True, gate=GateTerms(), copies=CopyTerms(), length_bound=10.0
)
BY_TEXT = replace(
    WITH_COPIES,
    name="copies by text",
    has_assigned=True,
    only=("none", "copy", "blurred copy", "another's block"),
)
DEFENCES = (
    MEAN,
    WITH_COPIES,
    DEFAULT,
    BY_TEXT,
    Defence("clip", clip=True),
    Defence("median", "median"),
    Defence("trimmed mean", "trimmed_mean"),
    Defence("multi-krum", "multi_krum"),
    Defence("centred clip", "centred_clip"),
)
"""In the order in which they are measured."""
CODECS = {
    "e3m0": CodecTerms("e3m0"),
    "top_k": CodecTerms("top_k", 128, 0.95),
}


@dataclass(frozen=True)
class Cell:
    """What is measured once with each seed."""

    attack: Attack
    defence: Defence
    codec: str

    def asked(self) -> dict[str, Any]:
        """All that its result follows from, beside what cells share."""
        defence = asdict(self.defence)
        del defence["only"]
        if not defence["has_assigned"]:
            del defence["has_assigned"]
        outer = {"outer": asdict(SPARSE_OUTER)} if self.codec == "top_k" else {}
        return {
            "attack": self.attack.name,
            "defence": defence,
            "codec": asdict(CODECS[self.codec]),
            **outer,
        }


BUDGET = Budget(
    members=8,
    steps=48,
    batch=4,
    sequence_length=64,
    start_steps=100,
    warmup_steps=6,
    held_out=256,
)
SIZE = Size(hidden=64, layers=1, intermediate=176, heads=4)
"""67 thousand weights."""
OUTER = OuterTerms("nesterov", 1.0, 0.5)
SPARSE_OUTER = OuterTerms("sgd", 1.0)
"""With `top_k`, whose members remember what was not sent. Both as tuned for `bench diloco`."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    budget: Budget = BUDGET
    size: Size = SIZE
    rate: float = 8e-3
    """Peak of the inner learning rate."""
    every: int = 6
    """Inner steps between two merges."""
    outer: OuterTerms = OUTER
    """With codecs that send every value."""
    faulty: int = 2
    """Liars, the last members."""
    gate_windows: int = 32
    """Of held-out text, others for each merge."""
    seeds: tuple[int, ...] = (0, 1)
    attacks: tuple[str, ...] = ()
    """Their names; none: all."""
    defences: tuple[str, ...] = ()
    codec: str = "e3m0"

    def __post_init__(self) -> None:
        for given, known, what in (
            (self.attacks, [each.name for each in ATTACKS], "attack"),
            (self.defences, [each.name for each in DEFENCES], "defence"),
            ((self.codec,), list(CODECS), "codec"),
        ):
            if unknown := [name for name in given if name not in known]:
                raise ValueError(
                    f"got the {what} {unknown[0]!r:.60}, expected one of: {'; '.join(known)}"
                )

    def cells(self) -> Iterator[Cell]:
        """In the order in which they are measured; the clean mean, to which all are compared, comes first."""
        yield Cell(NONE, MEAN, self.codec)
        for defence in DEFENCES:
            if self.defences and defence.name not in self.defences:
                continue
            if self.codec == "top_k" and not AGGREGATES[defence.aggregate].takes_sparse:
                continue
            for attack in ATTACKS:
                if defence.only and attack.name not in defence.only:
                    continue
                is_first = attack is NONE and defence is MEAN
                if not is_first and (not self.attacks or attack.name in self.attacks):
                    yield Cell(attack, defence, self.codec)

    @property
    def merges(self) -> int:
        """Outer steps of a run."""
        return -(-self.budget.steps // self.every)


QUICK = Plan(
    budget=Budget(
        members=8, steps=16, batch=2, sequence_length=32, start_steps=16, warmup_steps=2, held_out=32
    ),
    size=Size(32, 1, 64, 2),
    every=4,
    gate_windows=8,
    seeds=(0,),
    attacks=("none", "flip x10", "copy"),
    defences=("mean", "gate, clip, copies"),
)  # fmt: skip
