"""Whether the truth is the best ask: many random markets, and in each all that one or two operators can try.

A market has 2 to 6 operators with private costs, drawn log-uniformly; the bidders ask their costs except who tries
a lie. What an operator earns is a step function of its ask, with steps only where it passes another's score: asks
just around these, the extremes, and fewer lots are tried. Random by seed; costs and prices are integers.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from archipel.market.clearing import FULL_QUALITY, Ask, Clearing, Pricing, Terms, clear

SAY_EVERY = 500


@dataclass(frozen=True)
class Plan:
    """How much is tried."""

    markets: int = 20_000
    """Of each arm."""
    replies: int = 4
    """Lies that are tried per operator (or pair), at most, in every market."""
    seed: int = 0


QUICK = Plan(markets=500)


@dataclass(frozen=True)
class Arm:
    """One kind of market, and who lies in it."""

    name: str
    assumption: str
    lots: tuple[int, int] = (1, 1)
    """Of each operator, least and most."""
    quality: tuple[int, int] = (FULL_QUALITY, FULL_QUALITY)
    pricing: Pricing = Pricing.DISPLACED
    newcomers: bool = False
    """Whether some operators were never measured."""
    pairs: bool = False
    """Whether two operators lie together, to share what they gain."""
    withholds_only: bool = False
    """Whether liars ask the truth and only hold lots back."""

    @property
    def is_claimed(self) -> bool:
        """Whether no lie may pay here."""
        return not self.pairs and (self.pricing is Pricing.DISPLACED or self.lots == (1, 1))


_MIXED = (500, FULL_QUALITY)
_ALONE = "one operator lies, the others say the truth"
ARMS = (
    Arm("single-uniform", f"one lot each, equal quality, uniform price; {_ALONE}", pricing=Pricing.UNIFORM),
    Arm("single-quality", f"one lot each, threshold payments by quality; {_ALONE}", quality=_MIXED),
    Arm("multi-displaced", f"1 to 4 lots, caps, quality; {_ALONE}", (1, 4), _MIXED),
    Arm("newcomers", f"the same with operators nobody measured; {_ALONE}", (1, 4), _MIXED, newcomers=True),
    Arm("multi-uniform", "1 to 4 lots at the uniform price; one operator lies", (1, 4), _MIXED, Pricing.UNIFORM),
    Arm("withholding", "the same; one operator offers fewer lots", (1, 4), _MIXED, Pricing.UNIFORM,
        withholds_only=True),
    Arm("collusion-single", "one lot each; two operators agree", quality=_MIXED, pairs=True),
    Arm("collusion-multi", "1 to 4 lots, caps; two operators agree", (1, 4), _MIXED, pairs=True),
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A random market. The asks are the costs."""

    terms: Terms
    asks: tuple[Ask, ...]
    qualities: Mapping[str, int]
    seed: bytes


@dataclass(frozen=True)
class Outcome:
    """The best lie that was found in one market, for whom it pays most."""

    gain: int
    """Micro-credits above what the truth earns; never below 0."""
    spent: int
    """By the sponsor, when all say the truth."""
    spent_lied: int
    """By the sponsor, under that lie."""
    cost: int
    """Of what was bought, when all say the truth."""
    tried: int
    """Lies."""


def outcomes(arm: Arm, plan: Plan, tell: Callable[[str], None]) -> Iterator[Outcome]:
    """One outcome a market. tell: hears how far it is."""
    chance = random.Random(f"{arm.name}/{plan.seed}")  # noqa: S311 - draws markets, guards nothing
    for number in range(1, plan.markets + 1):
        yield outcome(arm, drawn(arm, chance), chance, plan.replies)
        if number % SAY_EVERY == 0 or number == plan.markets:
            tell(f"{arm.name:<17}{number:>7,} of {plan.markets:,} markets")


def drawn(arm: Arm, chance: random.Random) -> Drawn:
    """A market of this arm."""
    operators = [f"o{i}" for i in range(chance.randint(2, 6))]
    asks = tuple(
        Ask(f"{name}/n", name, int(1000 * 20 ** chance.random()), chance.randint(*arm.lots))
        for name in operators
    )
    offered = sum(ask.lots for ask in asks)
    terms = Terms(
        wanted=chance.randint(1, max(1, offered - 1)),
        reserve_micro=int(4000 * 20 ** chance.random()),
        operator_cap=chance.randint(1, arm.lots[1]),
        explore_permille=300 if arm.newcomers else 0,
        pricing=arm.pricing,
    )
    qualities = {
        name: chance.randint(*arm.quality)
        for name in operators
        if not (arm.newcomers and chance.random() < 0.3)
    }
    return Drawn(terms, asks, qualities, chance.randbytes(8))


def outcome(arm: Arm, market: Drawn, chance: random.Random, replies: int) -> Outcome:
    """The lie that pays most in this market, of all that are tried."""
    truth = _cleared(market, market.asks)
    parties = _parties(arm, market.asks, chance)
    gain, spent_lied, tried = 0, truth.spent_micro, 0
    for party in parties:
        honest = _profit(truth, market, party)
        for asks in islice(_lies(arm, market, party, chance), replies):
            lied, tried = _cleared(market, asks), tried + 1
            more = _profit(lied, market, party) - honest
            if more > gain:
                gain, spent_lied = more, lied.spent_micro
    cost_of = {ask.seller: ask.micro for ask in market.asks}
    cost = sum(cost_of[each.seller] * len(each.prices) for each in truth.awards)
    return Outcome(gain, truth.spent_micro, spent_lied, cost, tried)


def _cleared(market: Drawn, asks: Sequence[Ask]) -> Clearing:
    return clear(market.terms, asks, market.qualities, market.seed)


def _parties(arm: Arm, asks: Sequence[Ask], chance: random.Random) -> list[tuple[int, ...]]:
    """Who lies: each operator in turn, or each beside a partner drawn for it."""
    if not arm.pairs:
        return [(i,) for i in range(len(asks))]
    return [(i, (i + chance.randint(1, len(asks) - 1)) % len(asks)) for i in range(len(asks))]


def _profit(clearing: Clearing, market: Drawn, party: Sequence[int]) -> int:
    cost_of = {market.asks[i].seller: market.asks[i].micro for i in party}
    return sum(
        sum(price - cost_of[each.seller] for price in each.prices)
        for each in clearing.awards
        if each.seller in cost_of
    )


def _lies(
    arm: Arm, market: Drawn, party: Sequence[int], chance: random.Random
) -> Iterator[list[Ask]]:
    """Asks of all, where the party's own are not the truth; the most promising first."""
    if arm.pairs:
        yield from _agreements(market, party)
    for _ in range(8 * len(party)):
        asks = list(market.asks)
        for i in party:
            own = asks[i]
            lots = chance.randint(1, own.lots)
            micro = own.micro if arm.withholds_only else _other_ask(market, i, chance)
            asks[i] = replace(own, micro=micro, lots=lots)
        if tuple(asks) != market.asks:
            yield asks


def _agreements(market: Drawn, party: Sequence[int]) -> Iterator[list[Ask]]:
    """One works and the other asks as if it were not there, or both ask the most that is paid."""
    for liars in ((party[1],), (party[0],), party):
        asks = list(market.asks)
        for i in liars:
            quality = market.qualities.get(asks[i].operator, FULL_QUALITY)
            asks[i] = replace(asks[i], micro=market.terms.reserve_micro * quality // FULL_QUALITY)
        yield asks


def _other_ask(market: Drawn, own: int, chance: random.Random) -> int:
    """An ask just below, at or above another's score or the reserve, or anywhere."""
    quality = market.qualities.get(market.asks[own].operator, market.terms.newcomer_permille)
    other = chance.randrange(len(market.asks) + 2)
    if other == len(market.asks) + 1:
        return chance.randint(1, 2 * market.terms.reserve_micro)
    if other == len(market.asks):
        step = market.terms.reserve_micro * quality // FULL_QUALITY
    else:
        ask = market.asks[other]
        step = ask.micro * quality // market.qualities.get(ask.operator, FULL_QUALITY)
    return max(1, step + chance.randint(-1, 1))
