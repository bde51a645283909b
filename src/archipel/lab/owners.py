"""What a lab knows of who owns its runs: what was earned, who holds what, votes, whose receipts count. Frozen; part of the state."""

from dataclasses import dataclass, field

from archipel.market.voting import Count
from archipel.records.ownership import ProposalOpened
from archipel.records.table import Table

MAX_VOTES = 32
"""Of one run, open at a time."""
MAX_VOTES_OF_ONE = 2
"""Of these, opened by one holder: keeping the others from asking takes many who hold what opening takes."""
MAX_METERS = 64
"""Of one run: servers of its model, each with a key of its own."""
MAX_DECIDED = 64
"""Newest decisions of a run that are remembered; the ledger has all."""


@dataclass(frozen=True, slots=True)
class Vote:
    """A proposal on which ballots are taken."""

    entry: int
    """Position of its `proposal.opened` in the ledger: its name."""
    said: ProposalOpened
    opened_at_ms: int
    until_ms: int
    """Ballots are taken before it."""
    weights: Table[str, int]
    """Who may vote -> units, as held at the opening."""
    ballots: Table[str, str] = field(default_factory=Table)
    """Holder -> `yes`, `no` or `abstain`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A proposal, and what its ballots came to."""

    entry: int
    said: ProposalOpened
    until_ms: int
    count: Count
    undone: str = ""
    """Why what was adopted could not be carried out; empty: it was, or there was nothing to do."""


@dataclass(frozen=True, slots=True)
class Owned:
    """Of one run with a charter."""

    earned: Table[str, int] = field(default_factory=Table)
    """Account -> micro-credits that it was paid for accepted work and kept, of runs whose shares are not divided yet."""
    own_micro: int = 0
    """What the run had paid out of its operator's account when somebody set credits aside for it first."""
    issued: Table[str, int] = field(default_factory=Table)
    """Holder -> units when the shares were divided; empty before."""
    held: Table[str, int] = field(default_factory=Table)
    """Holder -> units now."""
    issued_entry: int | None = None
    """Entries before the one at which the shares were divided."""
    delegates: Table[str, str] = field(default_factory=Table)
    """Holder -> who votes for it."""
    votes: tuple[Vote, ...] = ()
    """Open, the oldest first."""
    decided: tuple[Decision, ...] = ()
    """Newest last."""


@dataclass(frozen=True, slots=True)
class Meter:
    """A key whose receipts count for a run, as far as they were entered."""

    run: str
    weights: str
    number: int = 0
    """Of the last receipt that was entered; 0: none was."""
    digest: str | None = None
    """Of that receipt."""
    due_micro: int = 0
    """What all receipts up to it come to."""
    paid_micro: int = 0
    """Of that, what came in and went to the holders."""


@dataclass(frozen=True, slots=True)
class Due:
    """When the ballots of a vote are counted."""

    until_ms: int
    run: str
    entry: int
