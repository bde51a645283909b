"""What the ledger of a run, its recipe and the planner's tables know of a model: what every paper is written from.

Law: plain frozen values; whoever writes a card, a bill of materials or a statement reads this and `Stated`, and
nothing else. Times are the ledger's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from archipel.records.fields import BlobRef
from archipel.records.recipe import Recipe


@dataclass(frozen=True, slots=True)
class VersionFact:
    """A published version of the weights."""

    number: int
    weights: str
    """State digest."""
    parent: str | None
    manifest: BlobRef
    anchor: BlobRef | None
    delta: BlobRef | None
    author: str
    """did:key of the trusted role that made it."""
    index: int
    """Its entry in the ledger."""
    at_ms: int
    inputs: tuple[str, ...]
    """Works whose results it was made from; () of version 0."""


@dataclass(frozen=True, slots=True)
class PartyFact:
    """Somebody who did something for the run: an operator of nodes, or a key without one."""

    did: str
    roles: tuple[str, ...]
    """Of `opened`, `updated`, `evaluated`, `sampled`, `audited`, sorted."""
    nodes: tuple[str, ...]
    """did:keys under it, sorted."""
    works: int
    groups: int
    """Accepted and not withdrawn."""
    tokens: int
    """Sampled in them."""
    micro: int
    """Micro-credits that it was paid and kept."""


@dataclass(frozen=True, slots=True)
class EvaluationFact:
    """An evaluation of a version."""

    version: int
    weights: str
    report: BlobRef
    metrics: Mapping[str, float]
    author: str
    index: int
    at_ms: int
    tasks: str | None
    """Digest of the tasks, where the report names one."""


@dataclass(frozen=True, slots=True)
class DataFact:
    """Data that shaped the weights: files, or what a generator makes from a seed."""

    name: str
    kind: str
    """`file`, `generated`, `rollouts`."""
    digest: str | None
    size_bytes: int | None
    count: int | None
    """Examples, tasks or rollouts."""
    tokens: int | None
    place: str | None
    """In the bundle, where it lies there."""
    licence: str | None
    source: str | None


@dataclass(frozen=True, slots=True)
class Cost:
    """What the run cost, from the planner's measured inputs; None where nothing measured it."""

    paid_micro: int
    """Micro-credits to providers."""
    processor_s: float | None
    energy_j: float | None
    how: str
    """Where the figures come from, one sentence."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it."""

    run: str
    lab: str
    origin: str
    tree_size: int
    tree_root: str
    """sha256:<hex>."""
    operators: tuple[str, ...]
    opened_index: int
    opened_ms: int
    last_ms: int
    recipe: Recipe
    recipe_digest: str
    parameters: int
    """Numbers in the weights."""
    architecture: str
    """Family, and the sizes of its configuration in one line."""
    context_tokens: int | None
    versions: tuple[VersionFact, ...]
    parties: tuple[PartyFact, ...]
    evaluations: tuple[EvaluationFact, ...]
    data: tuple[DataFact, ...]
    cost: Cost
    software: tuple[str, ...]
    """What nodes and trusted roles said they run, sorted."""
    contract: str | None
    """Exact contract that rollouts were sampled by; None: floating point."""
    files: Mapping[str, BlobRef]
    """Of the released model directory: name -> bytes."""
    withdrawn: Mapping[str, str]
    """Works that verdicts took out, and why."""
