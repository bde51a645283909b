"""What a lab knows: frozen values, produced only by `apply` from ledger entries.

A run goes through these phases:
    PREPARING  opened; waiting for the trusted role to publish version 0 and the first prompts
    RUNNING    rollouts and updates alternate
    COMPLETE   the last version is published; evaluations may still be outstanding
    STOPPED    an operator ended it early
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from archipel.records.fields import BlobRef
from archipel.records.statements import (
    Capabilities,
    EvaluationSubmitted,
    ResultInput,
    RunOpened,
    Spec,
    VersionPublished,
)

MAX_CLOSED_REMEMBERED = 4096
"""How many finished leases are remembered by outcome, so a late answer gets a precise refusal."""


class Phase(Enum):
    """Where a run stands (see the module's text)."""

    PREPARING = "preparing"
    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Node:
    """A provider's machine as the ledger shows it."""

    did: str
    capabilities: Capabilities
    joined_at_ms: int
    last_seen_ms: int
    present: bool = True
    """Joined, and has not left since."""
    rate_micro: int = 0
    """Accepted groups per second times 10^6, smoothed; 0 until the first result."""
    groups: int = 0
    tokens: int = 0
    bytes_in: int = 0
    expired: int = 0
    """Leases that ran out in silence, or that it never received."""
    returned: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """Work in somebody's hands."""

    work: str
    node: str
    spec: Spec
    granted_at_ms: int
    deadline_ms: int
    price_micro: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run."""

    opened: RunOpened
    opened_at_ms: int
    phase: Phase = Phase.PREPARING
    next_work: int = 1
    next_group: int = 0
    """Groups 0 .. next_group - 1 were admitted at least once."""
    pool: tuple[int, ...] = ()
    """Admitted groups whose lease came back, ascending; they go out first."""
    accepted: Mapping[int, str] = field(default_factory=dict)
    """Group -> work whose result holds it, for groups no update has consumed yet."""
    results: Mapping[str, ResultInput] = field(default_factory=dict)
    """Work -> its result, while a group of it is unconsumed."""
    prompts: Mapping[int, BlobRef] = field(default_factory=dict)
    """Batch -> prompts, for batches no update has consumed yet."""
    versions: tuple[VersionPublished, ...] = ()
    published_at_ms: tuple[int, ...] = ()
    updates: tuple[tuple[ResultInput, ...], ...] = ()
    """The results each version was made from: a new update process replays them."""
    evaluations: Mapping[int, EvaluationSubmitted] = field(default_factory=dict)
    staleness: Mapping[int, int] = field(default_factory=dict)
    """Staleness -> consumed groups."""
    learner_busy_ms: int = 0
    """Time between an update's lease and its publication, summed from version 1 on."""
    num_groups: int = 0
    num_tokens: int = 0
    rollout_bytes: int = 0

    @property
    def version(self) -> int:
        """Newest policy version; -1 before version 0."""
        return len(self.versions) - 1

    @property
    def num_accepted(self) -> int:
        """Groups accepted so far, consumed ones included."""
        return max(self.version, 0) * self.opened.pace.groups_per_update + len(self.accepted)


def batch_results(run: Run, version: int) -> tuple[ResultInput, ...]:
    """The accepted results that version `version` is made from, by their first group in its batch.

    Raises:
        KeyError: not all of the batch is accepted, or it was consumed before.
    """
    size = run.opened.pace.groups_per_update
    batch = range((version - 1) * size, version * size) if version else range(0)
    works = dict.fromkeys(run.accepted[group] for group in batch)
    return tuple(run.results[work] for work in works)


@dataclass(frozen=True, slots=True)
class LabState:
    """Everything; equal ledgers give equal states."""

    lab: str
    """The lab's own did."""
    operators: frozenset[str] = frozenset()
    """Keys that may open and stop runs."""
    runs: Mapping[str, Run] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    leases: Mapping[str, Lease] = field(default_factory=dict)
    closed: Mapping[str, str] = field(default_factory=dict)
    """Work -> outcome (`accepted`, `expired`, `returned`), the newest MAX_CLOSED_REMEMBERED."""
    sequences: Mapping[str, int] = field(default_factory=dict)
    """Author -> highest `seq` of its statements in the ledger."""
    asked: Mapping[str, int] = field(default_factory=dict)
    """Node -> highest `seq` of its granted requests. Numbered apart, so that a request and an answer
    that travel at the same time may arrive in either order."""
    balances: Mapping[str, int] = field(default_factory=dict)
    """Account -> micro-credits; they add up to zero."""
