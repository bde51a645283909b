"""What a recipe says of the market in which its rollouts are bought (decision 0048), and what records say of it. Pure."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from archipel.records.fields import MAX_PRICE_MICRO, Count, LeftOut, Sparing, Wait
from archipel.records.recipe_form import Section

MICRO = 1_000_000
MAX_PRICE = MAX_PRICE_MICRO / MICRO
"""Credits per million tokens."""
MAX_LOTS = 65_536
"""That a run wants at a time."""
MAX_DEPOSIT_MICRO = 10**15
_RESERVE_OF_POSTED = 2

Seconds = Annotated[float, Field(ge=0.1, le=86_400.0)]


class MarketSection(Section):
    """Rollouts are bought at auction: sealed bids, the lowest sufficient price, paid by the verified token. Before the
    first round is cleared, and while a round has bought nothing, `lease.price_micro` is paid as without a market.
    """

    reserve: Annotated[float, Field(ge=0.0, le=MAX_PRICE)] = 0.0
    """Credits that a million verified output tokens may cost at most; 0: twice what `lease.price_micro` comes to where
    every completion has full length."""
    lot: Annotated[float, Field(ge=0.001, le=1e9)] = 100.0
    """Verified tokens per second that one lot stands for."""
    lots: Annotated[int, Field(ge=0, le=MAX_LOTS)] = 0
    """Lots wanted; 0: as many as keep the learner busy, and half as many again."""
    period_s: Annotated[float, Field(ge=0.2, le=86_400.0)] = 300.0
    """From the opening of one round to that of the next."""
    commit_s: Seconds = 10.0
    """So long sealed bids are taken."""
    reveal_s: Seconds = 10.0
    """So long they are opened after that; then the round is cleared."""
    deposit: Annotated[float, Field(ge=0.0, le=MAX_DEPOSIT_MICRO / MICRO)] = 0.01
    """Credits that a bidder whose answers were measured before sets aside with a sealed bid; who does not open it loses
    them."""
    operator_cap: Annotated[int, Field(ge=0, le=MAX_LOTS)] = 0
    """Lots that are bought of one operator at most; 0: half of those wanted, rounded up."""
    explore: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05
    """Share of lots, and of groups in nodes' hands, that is kept for operators whom nobody has measured yet."""
    newcomer: Annotated[float, Field(ge=0.001, le=1.0)] = 0.8
    """Share of the clearing price that these are paid."""
    utilisation: Annotated[float, Field(ge=0.001, le=1.0)] = 0.95
    """Share of its time that the learner is to be at work."""
    central_price: Annotated[float, Field(ge=0.0, le=MAX_PRICE)] = 0.0
    """Credits per million tokens at a data centre's list price, for comparison alone; 0: not compared."""

    @model_validator(mode="after")
    def _rounds_fit(self) -> Self:
        if self.commit_s + self.reveal_s > self.period_s:
            raise ValueError(
                f"market.commit_s + market.reveal_s = {self.commit_s + self.reveal_s:g} s are longer than"
                f" market.period_s = {self.period_s:g} s; a round has to end before the next begins"
            )
        return self


class MarketTerms(Sparing):
    """How a run's rollouts are bought: a unit is a verified output token, a price is for a million of them."""

    reserve_micro: Annotated[int, Field(ge=1, le=MAX_PRICE_MICRO)]
    """Micro-credits that a million tokens may cost at most."""
    lot_milli: Annotated[int, Field(ge=1, le=10**12)]
    """Verified tokens per second that a lot stands for, times 1000."""
    period_ms: Wait
    """From one round's opening to the next one's."""
    commit_ms: Wait
    reveal_ms: Wait
    deposit_micro: Annotated[int, Field(ge=0, le=MAX_DEPOSIT_MICRO)]
    """Of a bidder who was measured before."""
    explore_permille: Annotated[int, Field(ge=0, le=500)]
    """Of lots, and of groups in nodes' hands: kept for operators whom nobody has measured."""
    newcomer_permille: Annotated[int, Field(ge=1, le=1000)]
    """Of the clearing price, what these are paid."""
    utilisation_permille: Annotated[int, Field(ge=1, le=1000)]
    """Of its time, what the learner is to be at work."""
    lots: Annotated[int | None, Field(ge=1, le=MAX_LOTS), LeftOut] = None
    """Wanted; None: as many as keep the learner busy (`lab.rounds`)."""
    operator_cap: Annotated[int | None, Field(ge=1, le=MAX_LOTS), LeftOut] = None
    """Lots of one operator; None: half of those wanted, rounded up."""
    central_micro: Annotated[Count | None, LeftOut] = None
    """What a million tokens cost at a data centre's list price; for comparison alone."""


def market_terms(
    section: MarketSection | None, *, posted_micro: int, tokens_per_group: int
) -> MarketTerms | None:
    """What a recipe says, in integers.

    Args:
        section: None: the run pays its posted price.
        posted_micro: `lease.price_micro`, for a group.
        tokens_per_group: the most that a group may have.

    Raises:
        ValueError: neither a reserve nor a posted price to take it from.
    """
    if section is None:
        return None
    posted = _RESERVE_OF_POSTED * posted_micro * MICRO // tokens_per_group
    reserve = round(section.reserve * MICRO) or min(posted, MAX_PRICE_MICRO)
    if reserve < 1:
        raise ValueError(
            "market.reserve is 0 and lease.price_micro gives none; say what a million tokens may cost"
        )
    return MarketTerms(
        reserve_micro=reserve,
        lot_milli=round(section.lot * 1000),
        period_ms=round(section.period_s * 1000),
        commit_ms=round(section.commit_s * 1000),
        reveal_ms=round(section.reveal_s * 1000),
        deposit_micro=round(section.deposit * MICRO),
        explore_permille=round(section.explore * 1000),
        newcomer_permille=round(section.newcomer * 1000),
        utilisation_permille=round(section.utilisation * 1000),
        lots=section.lots or None,
        operator_cap=section.operator_cap or None,
        central_micro=round(section.central_price * MICRO) or None,
    )
