"""A run's market in words: the open round, the last clearing with its book, prices over time."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from archipel.market.amounts import dollars, written
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.records.market_documents import ClearingView, MarketView

MICRO = 1_000_000
BARS, BAR = 24, "#"
SHOWN_PAST = 12


@dataclass(frozen=True)
class Wording:
    """How a market is told."""

    marks: set[str]
    """Nodes that ask less than their energy."""
    is_over: bool
    """Whether the run buys no more."""
    rate_micro: int | None
    """Millionths of a dollar for a credit, if that is to be said."""

    @property
    def verb(self) -> str:
        """What happens to a group, or did."""
        return "was" if self.is_over else "is"

    def price(self, micro: int) -> str:
        """Of a million tokens."""
        text = f"{micro / MICRO:.6g} credits/M tokens"
        if self.rate_micro is None:
            return text
        return f"{text} ({written(dollars(micro, self.rate_micro))} USD)"


def lines(view: "MarketView", how: Wording) -> Iterator[str]:
    """The round, the last clearing with its book, and prices over time."""
    terms = view.terms
    yield (
        f"{view.run}: reserve {how.price(terms.reserve_micro)}, a lot is {terms.lot_milli / 1000:g} tokens/s"
        + (
            ""
            if view.needed_milli is None
            else f", the learner needs {view.needed_milli / 1000:.1f} tokens/s"
        )
    )
    yield from _round_lines(view, how)
    if view.last is None:
        yield f"  not cleared yet: each accepted group {how.verb} paid {view.posted_micro / MICRO:g} credits"
        return
    yield from _clearing_lines(view, view.last, how)
    yield from _book_lines(view.last, how)
    yield from _past_lines(view, how)


def _round_lines(view: "MarketView", how: Wording) -> Iterator[str]:
    opened = view.round
    if opened is None:
        yield "  the run is over, and buys no more" if how.is_over else "  no round is open"
        return
    until = opened.commit_until_ms if opened.phase == "committing" else opened.reveal_until_ms
    left = max(until - view.now_ms, 0) / 1000
    yield (
        f"  round {opened.number}, {opened.phase} for another {left:.0f} s: {counted(opened.lots, 'lot')} wanted, "
        f"{opened.sealed} sealed, {opened.revealed} revealed"
    )


def _clearing_lines(view: "MarketView", last: "ClearingView", how: Wording) -> Iterator[str]:
    at = datetime.fromtimestamp(last.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if not last.price_micro:
        yield (
            f"  round {last.number} ({at}): nobody revealed a bid; each accepted group {how.verb} paid "
            f"{view.posted_micro / MICRO:g} credits"
        )
        return
    yield (
        f"  round {last.number} ({at}): {last.bought} of {counted(last.lots, 'lot')} bought"
        f" at a clearing price of {how.price(last.price_micro)}"
        + (
            f"; {counted(last.short, 'lot')} not offered within the reserve by nodes that were measured when it opened"
            if last.short
            else ""
        )
    )
    if not view.in_force:
        yield (
            f"  nobody who was measured before was bought, so each accepted group {how.verb} paid "
            f"{view.posted_micro / MICRO:g} credits"
        )
    for each in last.awards:
        new = ", new here" if each.is_newcomer else ""
        yield f"    {each.node[-12:]}  {counted(each.lots, 'lot')} at {how.price(each.price_micro)}{new}"
    if last.bought:
        regions = ", ".join(
            f"{name} {share / 10:g}%" for name, share in last.regions_permille.items()
        )
        yield f"  concentration {last.operators_hhi} of 10000 by operator; lots by region: {regions}"
    central = view.terms.central_micro
    if central:
        share = last.price_micro / central
        yield f"  a data centre's list price is {how.price(central)}: this is {share:.0%} of it"


def _book_lines(last: "ClearingView", how: Wording) -> Iterator[str]:
    yield f"  book: {counted(last.bids, 'bid')}" + (
        f", the cheapest {len(last.book)}" if len(last.book) < last.bids else ""
    )
    for each in last.book:
        known = (
            "new here"
            if each.quality_permille is None
            else f"{each.quality_permille / 10:g}% right"
        )
        marked = ", below the energy of a thrifty machine" if each.node in how.marks else ""
        won = f"  {counted(each.won, 'lot')} bought" if each.won else ""
        yield (
            f"    {each.node[-12:]}  {how.price(each.micro)} x {counted(each.lots, 'lot')}  {each.region}  {known}{won}{marked}"
        )


def _past_lines(view: "MarketView", how: Wording) -> Iterator[str]:
    past = view.past[-SHOWN_PAST:]
    top = max((each.price_micro for each in past), default=0)
    if len(past) < 2 or not top:
        return
    yield "  prices of the newest rounds"
    for each in past:
        bar = BAR * round(BARS * each.price_micro / top)
        told = how.price(each.price_micro) if each.price_micro else "void"
        yield f"    {each.number:>6}  {told:<12} {bar}"
