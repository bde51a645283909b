"""What a lab knows of its runs' markets: the round that is open, and what the last one bought. Frozen; part of the state."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from archipel.market.clearing import Award
from archipel.market.sealed import Envelopes, Round
from archipel.records.bids import Bid
from archipel.records.changed import changed
from archipel.records.fields import Did
from archipel.records.table import Table

MAX_PAST = 288
"""Newest clearings of a run that are remembered: a day at five minutes each. The ledger has all."""


@dataclass(frozen=True, slots=True)
class OpenRound:
    """Bids are taken, or opened, or it waits to be cleared."""

    number: int
    entry: int
    """Position of its `market.opened` in the ledger."""
    round: Round
    lots: int
    """Wanted."""
    qualities: Table[str, int]
    """Operator -> per-mille, as measured at the opening; who is not in it is a newcomer."""
    envelopes: Envelopes = field(default_factory=Envelopes)
    deposits: Table[Did, int] = field(default_factory=Table)
    """Bidder -> micro-credits that are held until its reveal."""
    last_reveal: int | None = None
    """Entries up to the last reveal, that one included; the root of these breaks ties."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """What the last round came to."""

    number: int
    entry: int
    """Position of its `market.cleared` in the ledger."""
    at_ms: int
    lots: int
    """Wanted."""
    price_micro: int
    short: int
    awards: Table[str, Award] = field(default_factory=Table)
    """Node -> what was bought of it and has not ended since."""
    book: Table[Did, Bid] = field(default_factory=Table)
    """Every bid that was revealed."""
    bought: int = 0
    """Lots, when it was cleared."""
    explored: int = 0
    """Of these, newcomers'."""
    cheapest_micro: int = 0
    """The lowest price of its awards; of the last one, once all have ended."""

    @property
    def rules(self) -> bool:
        """Whether it says what leases are paid: it bought of somebody who was measured."""
        return self.bought > self.explored


@dataclass(frozen=True, slots=True)
class Past:
    """A clearing, as it is remembered."""

    number: int
    at_ms: int
    price_micro: int
    """0: nobody revealed."""
    lots: int
    bought: int
    bids: int
    spent_micro: int
    """For a million units of every lot; no more than a record may say."""


@dataclass(frozen=True, slots=True)
class RunMarket:
    """Of one run."""

    number: int = 0
    """Of its newest round."""
    opened_at_ms: int = 0
    """When that was opened."""
    cleared: int = 0
    """Rounds that were cleared, void ones among them; others were called off."""
    open: OpenRound | None = None
    last: Cleared | None = None
    past: tuple[Past, ...] = ()
    """Newest last."""
    exploring: Table[str, int] = field(default_factory=Table)
    """Work in the hands of newcomers without an award -> its groups."""


def without(last: Cleared, dids: Iterable[str]) -> Cleared:
    """The clearing when what it bought of these nodes has ended."""
    awards, lowest = last.awards.drop(*dids), last.cheapest_micro
    if awards and lowest not in map(price_of, awards.values()):
        lowest = min(map(price_of, awards.values()))
    return changed(last, awards=awards, cheapest_micro=lowest)


def price_of(award: Award) -> int:
    """Micro-credits per million units that an award is paid: the mean over its lots, rounded down."""
    return sum(award.prices) // len(award.prices)
