"""What a lab knows: frozen values, produced only by `apply` from ledger entries.

A run is a header, the same for whatever is trained, and the slice of its programme; kinds of work that
attach to any programme keep their own slice beside it. A run goes through these phases:
    PREPARING  opened; waiting for the trusted role to publish version 0
    RUNNING    work is handed out
    COMPLETE   the last version is published; evaluations may still be outstanding
    STOPPED    an operator ended it early
An open run may be paused meanwhile (`lab.pauses`), whatever its phase.
Complete or stopped, and with nothing in anybody's hands, it keeps its chain of versions and what it shows;
what only its work needed is gone (`ProgrammeRules.closed`). With nothing due either it is at rest, for good.
Law: a copy with one change costs the same at ten nodes and at ten thousand (`records.table`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import product

from archipel.lab.given import Given
from archipel.lab.grantees import Granted, Pledge, Pool
from archipel.lab.markets import RunMarket
from archipel.lab.membership import Delegated, Joining, Provider, Used
from archipel.lab.noise import Noise
from archipel.lab.owners import Due, Meter, Owned
from archipel.lab.reputation import Standing
from archipel.lab.successions import Named, Succession
from archipel.lab.tallies import Failing, Pause, Speed, Tally, Trouble
from archipel.lab.working_set import WorkingSet
from archipel.market.journal import Book
from archipel.records.backends import FOREIGN
from archipel.records.chain import Publication
from archipel.records.engine_classes import CLASSES
from archipel.records.episodes import playable
from archipel.records.exact import variant_named
from archipel.records.fields import BlobRef
from archipel.records.kinds import Spec
from archipel.records.statements import Capabilities, RunOpened
from archipel.records.table import Table
from archipel.records.terms import needed

MAX_ENDS_REMEMBERED = 8
"""How many of a node's ended leases are remembered by outcome, so a late answer gets a precise refusal."""


class Phase(Enum):
    """Where a run stands (see the module's text)."""

    PREPARING = "preparing"
    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"


OPEN_PHASES = (Phase.PREPARING, Phase.RUNNING)


def ability(kind: str, need: str | None) -> str:
    """One word for a kind of work, or for that kind where a run needs this of a node."""
    return kind if need is None else f"{kind} {need}"


def abilities(kinds: Iterable[str], needs: Iterable[str]) -> frozenset[str]:
    """Every `ability` of who does these kinds and meets these needs, and without."""
    kinds = tuple(kinds)
    return frozenset(ability(kind, each) for each in (None, *needs) for kind in kinds)


@dataclass(frozen=True, slots=True)
class Node:
    """A provider's machine as the ledger shows it."""

    did: str
    capabilities: Capabilities
    joined_at_ms: int
    last_seen_ms: int
    present: bool = True
    """Joined, and has not left since."""
    leases: tuple[str, ...] = ()
    """Works in its hands, oldest first."""
    ends: tuple[tuple[str, str], ...] = ()
    """(work, outcome) of its newest ended leases: `accepted`, `expired`, `returned`, `overtaken`, `missed`."""
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    """Kind -> what it did."""
    speeds: tuple[Speed, ...] = ()
    """Of the runs it worked for last, the newest last."""
    expired: int = 0
    """Leases that ran out in silence, or that it never received."""
    returned: int = 0
    failing: tuple[Failing, ...] = ()
    """What it failed at last and did not do since, the newest last."""
    standing: Standing = field(default_factory=Standing)
    """Its own; a node of an operator is known for its operator's (`lab.providers`)."""

    def speed(self, kind: str, run: str) -> Speed:
        """How fast it is at this kind of work of this run."""
        known = (each for each in self.speeds if (each.kind, each.run) == (kind, run))
        return next(known, Speed(kind, run))

    def holds(self, needed_mb: int | None) -> bool:
        """Whether its memory, as it stated it, is enough; one that stated none may have as much as it likes."""
        stated = self.capabilities.memory_mb
        return needed_mb is None or stated is None or stated >= needed_mb

    @property
    def contracts(self) -> tuple[str, ...]:
        """Exact contracts that it stated, of those known here: names of its own would be queues of its own."""
        return tuple(each for each in self.capabilities.exact or () if variant_named(each))

    @property
    def plays(self) -> tuple[str, ...]:
        """Environments that it stated, of those known here."""
        return tuple(each for each in self.capabilities.plays or () if each in playable())

    @property
    def backends(self) -> tuple[str, ...]:
        """Libraries that it stated, of those known here."""
        return tuple(each for each in self.capabilities.backends or () if each in FOREIGN)

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of engines that it stated, of those known here."""
        return tuple(each for each in self.capabilities.classes or () if each in CLASSES)

    @property
    def meets(self) -> tuple[str, ...]:
        """All that runs may need of a node (`records.terms.needed`) and that it stated."""
        sampled_by = (None, *self.contracts, *self.classes)
        ways = product(sampled_by, (None, *self.plays), (None, *self.backends))
        return tuple(word for way in ways if (word := needed(*way)) is not None)

    @property
    def works(self) -> int:
        """Accepted answers of every kind."""
        return sum(tally.works for tally in self.tallies.values())


@dataclass(frozen=True, slots=True)
class Lease:
    """Work in somebody's hands."""

    work: str
    node: str
    spec: Spec
    granted_at_ms: int
    deadline_ms: int
    price_micro: int
    entry: int
    """Position of its `lease.granted` in the ledger."""
    per_million_micro: int | None = None
    """What a million verified tokens are paid; None: the price is for all of it."""


@dataclass(frozen=True, slots=True)
class Version(Publication):
    """A published policy version, as far as it can still be fetched."""

    entry: int
    """Position of its publication in the ledger."""
    at_ms: int


@dataclass(frozen=True)
class Run:
    """One run: the header and its slices."""

    opened: RunOpened
    opened_at_ms: int
    entry: int
    """Position of its `run.opened` in the ledger."""
    course: object
    """The slice of its programme (`lab.programmes`)."""
    phase: Phase = Phase.PREPARING
    next_work: int = 1
    leases: Table[str, int] = field(default_factory=Table)
    """Its works in nodes' hands -> position of their `lease.granted` in the ledger."""
    chain: tuple[Version, ...] = ()
    """The newest versions, beginning with an anchor."""
    version_0_at_ms: int = 0
    rewards_micro: tuple[int, ...] = ()
    """Mean reward of each version's batch from version 1 on; thinned out in long runs."""
    reward_stride: int = 1
    """Versions between two of `rewards_micro`."""
    attached: Mapping[str, object] = field(default_factory=dict)
    """Kind -> the slice of a kind that attaches to any programme."""
    paid_micro: int = 0
    troubles: tuple[Trouble, ...] = ()
    """Kinds of work that fail."""
    retried_at_ms: int = 0
    """Failures up to then count no more: somebody who may say so said that they are mended."""
    paused: Pause | None = None
    paused_ms: int = 0
    """Length of its earlier pauses, since version 0."""
    noise: Noise | None = None
    """Where its noise is drawn; None: it is not, or nothing is drawn yet."""
    working: WorkingSet = field(default_factory=WorkingSet)
    funders: Table[str, int] = field(default_factory=Table)
    """Who set credits aside for it -> how many micro-credits so far; where there are any, leases are held of these."""

    @property
    def name(self) -> str:
        """The run's name."""
        return self.opened.run

    @property
    def version(self) -> int:
        """Newest policy version; -1 before version 0."""
        return self.chain[-1].version if self.chain else -1


@dataclass(frozen=True)
class LabState:
    """Everything; equal ledgers give equal states."""

    lab: str
    """The lab's own did: its successor's, once it was succeeded."""
    size: int = 0
    """Entries folded so far."""
    operators: frozenset[str] = frozenset()
    """Keys that may open and stop runs."""
    runs: Table[str, Run] = field(default_factory=Table)
    live: tuple[str, ...] = ()
    """Runs that are not at rest, by their opening: what is asked for every record looks at no others."""
    nodes: Table[str, Node] = field(default_factory=Table)
    leases: Table[str, Lease] = field(default_factory=Table)
    sequences: Table[str, int] = field(default_factory=Table)
    """Author -> highest `seq` of its statements in the ledger."""
    asked: Table[str, int] = field(default_factory=Table)
    """Node -> highest `seq` of its granted requests. Numbered apart, so that a request and an answer
    that travel at the same time may arrive in either order."""
    forgotten_seq: int = 0
    """The highest `seq` of any author that was forgotten: a key unknown here must exceed it."""
    book: Book = field(default_factory=Table)
    """Account -> micro-credits; they add up to zero."""
    snapshot: tuple[int, BlobRef] | None = None
    """Size and blob of the newest snapshot of this state."""
    drew: tuple[int, int] = (0, 0)
    """Position and time of the newest `audits.drawn`."""
    providers: Table[str, Provider] = field(default_factory=Table)
    """Operators of nodes that came with their delegation."""
    delegations: Table[str, Delegated] = field(default_factory=Table)
    """Key of a node -> whose it is, or was."""
    joining: Joining = field(default_factory=Joining)
    invited: Table[str, Used] = field(default_factory=Table)
    """Name of an invitation -> how often somebody came with it."""
    markets: Table[str, RunMarket] = field(default_factory=Table)
    """Run -> its market, from its first round on."""
    settled: Table[str, int] = field(default_factory=Table)
    """Reference of a settlement with the world outside -> position of its entry in the ledger."""
    owned: Table[str, Owned] = field(default_factory=Table)
    """Run with a charter -> who owns it."""
    deciding: tuple[Due, ...] = ()
    """Votes whose ballots are to be counted, the soonest first."""
    meters: Table[str, Meter] = field(default_factory=Table)
    """Key that signs receipts -> whose they are, and how far they were entered."""
    pool: Pool = field(default_factory=Pool)
    granted: Table[str, Granted] = field(default_factory=Table)
    """Key -> what was granted to it and is running, and by which permits doors charged it."""
    persons: Table[str, int] = field(default_factory=Table)
    """Person, by tag, and key that asked -> position of the entry that it was given this month's grant by."""
    pledged: Table[str, Pledge] = field(default_factory=Table)
    """Provider -> the part of its pay that goes to the pool."""
    paused: Table[str, Pause] = field(default_factory=Table)
    """Node -> why it is given no work for now."""
    successors: Named | None = None
    """Who may continue this ledger by the lab's own word; None: it named nobody."""
    succeeded: tuple[Succession, ...] = ()
    """The labs that this ledger was of before, the first one first."""
    compute: Table[str, tuple[Given, ...]] = field(default_factory=Table)
    """Provider -> its pledges of compute, the oldest first."""
