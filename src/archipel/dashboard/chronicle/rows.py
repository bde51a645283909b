"""What a chronicle tells, as values: each with the entries of the ledger that it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from archipel.dashboard.series import By

SPAN_MS: Mapping[By, int] = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}


@dataclass(frozen=True, slots=True)
class Opened:
    """A run, and what it came to so far."""

    run: str
    programme: str
    versions: int
    """The last version will have this number."""
    entry: int
    """That opened it."""
    at_ms: int
    stopped: int | None
    """Entry that ended it early."""
    paid_micro: int
    """Paid for answers, less what was taken back."""
    units: int
    """Of work that was accepted, and so the next two."""
    tokens: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Measured:
    """A version: what its answer measured, and what its run came to until then."""

    version: int
    entry: int
    """Of its publication."""
    at_ms: int
    node: str
    """Who made it."""
    granted: int | None
    """Entry of its lease."""
    granted_ms: int | None
    anchor_bytes: int | None
    """Of its weights whole; None: it is published as a delta alone."""
    delta_bytes: int | None
    paid_micro: int
    units: int
    tokens: int
    bytes: int
    values: Mapping[str, float]
    """In plain units (`curves.history`)."""
    ages: Mapping[int, int] = field(default_factory=dict)
    """Versions that weights were behind -> groups of its batch sampled from such; what a verdict took out and was done again
    is there twice."""

    @property
    def busy_ms(self) -> int | None:
        """From its lease to its publication."""
        return None if self.granted_ms is None else max(self.at_ms - self.granted_ms, 0)


@dataclass(frozen=True, slots=True)
class Examined:
    """What a version achieved on held-out tasks."""

    version: int
    entry: int
    at_ms: int
    node: str
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Earned:
    """Of some accounts together, in one minute, hour or day: paid for work, less what was taken back."""

    at_ms: int
    """When that time began."""
    micro: int
    count: int
    """Of postings."""
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Moved:
    """Into an account and out of it in one minute, by one move, because of one run (empty: of none)."""

    account: str
    at_ms: int
    move: str
    """Name of a `market.journal.Move`."""
    run: str
    in_micro: int
    out_micro: int
    count: int
    first_ms: int
    """When exactly its first entry was received."""
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What moved because of a run in one minute, hour or day, by one move."""

    at_ms: int
    move: str
    micro: int
    count: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a run's market."""

    number: int
    entry: int
    """That opened it."""
    at_ms: int
    lots: int
    """Wanted."""
    seals: int
    reveals: int
    cleared: int | None
    """Entry of its clearing; None, here and below: it is not cleared."""
    cleared_ms: int | None
    price_micro: int | None
    """Micro-credits per million units at full quality."""
    bought: int | None
    short: int | None


@dataclass(frozen=True, slots=True)
class Grown:
    """The ledger at the end of a minute."""

    at_ms: int
    """When that minute began."""
    entries: int
    """That came in it."""
    size: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Worked:
    """Answers of a node that were accepted in one minute, hour or day, of one kind and run."""

    at_ms: int
    kind: str
    run: str
    answers: int
    units: int
    tokens: int
    bytes: int
    busy_ms: int
    """That the node says it computed."""
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Somebody takes back what it gave to a run."""

    entry: int
    at_ms: int
    author: str
    what: str
    """A digest of data, or a key."""
    reason: str
