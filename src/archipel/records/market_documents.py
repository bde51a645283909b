"""What a lab shows of a run's market: the round that is open, the last clearing with its book, prices over time."""

from archipel.records.bids import Market
from archipel.records.document import Document
from archipel.records.recipe_market import MarketTerms


class RoundView(Document):
    """A round that is open."""

    number: int
    entry: int
    """Position of its opening in the ledger."""
    market: Market
    phase: str
    """`committing`, `revealing`, or `clearing`."""
    lots: int
    """Wanted."""
    commit_until_ms: int
    reveal_until_ms: int
    sealed: int
    revealed: int


class AwardView(Document):
    """What is bought of one node."""

    node: str
    operator: str
    price_micro: int
    """Per million verified tokens."""
    lots: int
    is_newcomer: bool


class OfferView(Document):
    """One bid of the last round."""

    node: str
    operator: str
    micro: int
    """Asked per million verified tokens."""
    lots: int
    region: str
    quality_permille: int | None
    """As measured now; None: a newcomer."""
    rate_milli: int
    """Tokens per second times 1000, as measured; 0: not measured."""
    won: int
    """Lots that are bought of it."""


class ClearingView(Document):
    """What the last round came to."""

    number: int
    entry: int
    at_ms: int
    price_micro: int
    """At full quality; 0: nobody revealed a bid."""
    lots: int
    bought: int
    short: int
    bids: int
    awards: tuple[AwardView, ...]
    """That have not ended, cheapest first; as many as were asked for."""
    book: tuple[OfferView, ...]
    """Cheapest first; as many as were asked for."""
    operators_hhi: int
    """Herfindahl-Hirschman index of the lots bought, by operator; 10,000: one seller."""
    regions_permille: dict[str, int]
    """Lots bought, by region, as operators say."""


class PastView(Document):
    """A clearing of the past."""

    number: int
    at_ms: int
    price_micro: int
    lots: int
    bought: int
    bids: int
    spent_micro: int
    """For a million tokens of every lot."""


class OwnView(Document):
    """How one node stands in it."""

    has_sealed: bool
    has_revealed: bool
    deposit_micro: int
    """That a bid of it would hold."""
    quality_permille: int | None
    """None: nobody has measured its operator yet."""
    price_micro: int | None
    """Per million verified tokens, at which it is leased work now; None: by the posted price, or none."""
    is_bought: bool
    """Whether it is leased any now."""
    lots: int
    """Of its award."""
    standby: str | None = None
    """Why it is given no work for now although it is bought; None: it is given some."""


class MarketView(Document):
    """A run's market."""

    run: str
    now_ms: int
    terms: MarketTerms
    posted_micro: int
    """For an accepted group, while no clearing says a price."""
    tokens_per_group: int
    """At most."""
    in_force: bool
    """Whether the last clearing says what leases are paid; else the posted price is."""
    needed_milli: int | None
    """Verified tokens per second times 1000 that keep the learner busy; None: not measured yet."""
    round: RoundView | None
    last: ClearingView | None
    past: tuple[PastView, ...]
    """Newest last."""
    own: OwnView | None = None
    """Of the node that was asked for."""
