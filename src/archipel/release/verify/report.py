"""What a verification found, step by step."""

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archipel.lab.state import LabState
from archipel.ledger.tree_head import TreeHead
from archipel.release.hearing import Hearing
from archipel.release.index import Released
from archipel.release.oms.statement import SignedFiles
from archipel.release.weights.delta import Decode
from archipel.release.weights.difference import decoded

MAX_FAULTS = 100
"""Told of one step; one flipped byte makes few, a foreign folder many."""
Tell = Callable[[str], None]


@dataclass(slots=True)
class Step:
    """One step."""

    number: int
    name: str
    shown: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unshown: list[str] = field(default_factory=list)
    """What it could not look at, or what looking does not show."""

    @property
    def outcome(self) -> str:
        """`holds`, `fails`, or `not looked at`."""
        if self.faults:
            return "fails"
        return "holds" if self.shown else "not looked at"

    def fault(self, said: str) -> None:
        """One more; of many, the number."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(said)
        elif len(self.faults) == MAX_FAULTS:
            self.faults.append("and more")

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "step": self.number,
            "name": self.name,
            "outcome": self.outcome,
            "shown": list(self.shown),
            "faults": list(self.faults),
            "not_shown": list(self.unshown),
        }


@dataclass(frozen=True, slots=True)
class Expected:
    """What whoever looks knows already; None: nothing."""

    lab: str | None = None
    """did:key of the lab."""
    hint: str | None = None
    """SHA-256 of the signing key's public PEM."""
    pem: bytes | None = None
    """The key itself."""
    witnesses: tuple[str, ...] = ()
    """Key lines of witnesses."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """As what a file was found: a file that was written meanwhile is another one."""

    size: int
    """In bytes."""
    allocated: int
    """Bytes that it takes on the disk."""
    marks: tuple[int, ...]
    """Device, number, times of its last changes."""


@dataclass(slots=True)
class Looked:
    """What one step hands on to the next."""

    folder: Path
    expected: Expected
    tell: Tell
    decode: Decode = decoded
    """Of blocks of deltas; what comes out is hashed."""
    index: Released | None = None
    stamps: dict[str, "Stamp"] = field(default_factory=dict)
    """Regular files that lie there, and as what they were found."""
    voucher: str | None = None
    """Who vouches for the key, if somebody does."""
    forms: list[tuple[str, tuple[int, ...]]] | None = None
    """Names and shapes of the tensors at the top, in order."""
    signed: SignedFiles | None = None
    signer: str | None = None
    """Hint of the key whose signature holds."""
    damaged: set[str] = field(default_factory=set)
    """Files that are not as they were signed."""
    head: TreeHead | None = None
    """Of the ledger that lies there."""
    state: LabState | None = None
    heard: Hearing | None = None
    steps: list[Step] = field(default_factory=list)

    @property
    def files(self) -> tuple[str, ...]:
        """Regular files that lie there, in order."""
        return tuple(self.stamps)

    @property
    def there(self) -> Set[str]:
        """The same, to ask whether one is among them."""
        return self.stamps.keys()

    def step(self, name: str) -> Step:
        """The next one."""
        self.steps.append(Step(len(self.steps) + 1, name))
        return self.steps[-1]


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    folder: Path
    index: Released | None
    signer: str | None
    steps: tuple[Step, ...]

    @property
    def holds(self) -> bool:
        """Whether no step found a fault."""
        return not any(each.faults for each in self.steps)

    @property
    def faults(self) -> Iterator[str]:
        """All of them."""
        return (fault for step in self.steps for fault in step.faults)

    def to_dict(self) -> dict[str, Any]:
        """For machines."""
        index = self.index
        return {
            "bundle": str(self.folder),
            "holds": self.holds,
            "run": None if index is None else index.run,
            "lab": None if index is None else index.lab,
            "version": None if index is None else index.version,
            "weights": None if index is None else index.weights,
            "key": self.signer,
            "steps": [each.to_dict() for each in self.steps],
        }
