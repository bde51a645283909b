"""A run's market: the open round, the last clearing with its book, prices over time. Pure."""

from collections.abc import Sequence

from archipel.dashboard.pages import paths, wording
from archipel.dashboard.pages.asked import NotThere, Sight
from archipel.dashboard.pages.charts import MOST, rounded
from archipel.dashboard.pages.rows import did
from archipel.dashboard.pages.value import (
    Cell,
    Chart,
    Column,
    Figure,
    Line,
    Link,
    Page,
    Section,
    Table,
)
from archipel.dashboard.pages.wording import MICRO
from archipel.dashboard.series import Cleared
from archipel.records.market_documents import (
    AwardView,
    ClearingView,
    MarketView,
    OfferView,
    RoundView,
)

MOST_OFFERS = 100


def market(sight: Sight, name: str) -> Page:
    """`/pages/market/RUN`.

    Raises:
        NotThere: no run has this name, or it pays a posted price.
    """
    view = sight.look.market(name, MOST_OFFERS)
    if view is None:
        raise NotThere(
            f"no run called {wording.shown(name, 80)} has a market; a run without one pays its posted price"
        )
    cleared = sight.series.cleared(name, MOST)
    chart = _prices(view, cleared)
    sections = [Section("round", "Open round", _round_words(view.round, view.now_ms))]
    if chart is not None:
        sections.append(Section("prices", "Prices", charts=(chart,)))
    if view.last is not None:
        sections.append(_clearing(view.last))
    return Page(
        f"Market of {wording.shown(name)}", paths.market(name), "runs", sight.look.size,
        "Sealed bids, one price: the lowest that buys enough; credits are per million verified tokens.",
        crumbs=(Link("Runs", paths.path("runs")), Link(wording.shown(name), paths.run(name))),
        figures=_figures(view), sections=tuple(sections),
        told_to=sight.series.size, has_series=True,
    )  # fmt: skip


def price(micro: int) -> str:
    """Credits per million tokens."""
    return f"{micro / MICRO:.6g}"


def _figures(view: MarketView) -> tuple[Figure, ...]:
    last, terms = view.last, view.terms
    proof = () if last is None else (last.entry,)
    central = terms.central_micro
    found = [
        Figure("price_micro", "Price", wording.UNKNOWN if last is None or not last.price_micro else price(last.price_micro), None if last is None else last.price_micro, "in force" if view.in_force else "the posted price is paid", proof),
        Figure("reserve_micro", "Reserve", price(terms.reserve_micro), terms.reserve_micro, "paid at most"),
        Figure("central_micro", "Data centre", wording.UNKNOWN if central is None else price(central), central, "list price, as the recipe says"),
        Figure("needed_milli", "Learner needs", wording.UNKNOWN if view.needed_milli is None else f"{view.needed_milli / 1000:,.1f}", view.needed_milli, "tokens a second"),
        Figure("posted_micro", "Posted price", wording.amount(view.posted_micro), view.posted_micro, "a group, while nothing is bought"),
    ]  # fmt: skip
    if last is not None:
        found.append(
            Figure(
                "bought",
                "Lots bought",
                f"{last.bought} of {last.lots}",
                last.bought,
                f"{last.bids} bids",
                proof,
            )
        )
        found.append(
            Figure(
                "operators_hhi",
                "Concentration",
                wording.count(last.operators_hhi),
                last.operators_hhi,
                "of 10,000: one seller",
                proof,
            )
        )
    return tuple(found)


def _round_words(opened: RoundView | None, now_ms: int) -> tuple[str, ...]:
    if opened is None:
        return ("No round is open.",)
    until = opened.commit_until_ms if opened.phase == "committing" else opened.reveal_until_ms
    left = wording.span(max(until - now_ms, 0) / 1000)
    return (
        f"Round {opened.number} is {wording.shown(opened.phase, 40)} for another {left}: {wording.count(opened.lots)} lots wanted, "
        f"{opened.sealed} bids sealed, {opened.revealed} revealed (entry #{opened.entry}).",
    )  # fmt: skip


def _clearing(last: ClearingView) -> Section:
    regions = ", ".join(
        f"{wording.shown(name, 40)} {part / 10:.0f}%"
        for name, part in sorted(last.regions_permille.items())
    )
    words = f"Round {last.number}, cleared {wording.moment(last.at_ms)}: {last.bought} of {last.lots} lots bought of {last.bids} bids."
    more = (f"By region, as operators say: {regions}.",) if regions else ()
    awards = {each.node: each for each in last.awards}
    columns = (
        Column("node"), Column("operator"), Column("asks", True), Column("lots", True), Column("won", True),
        Column("is paid", True), Column("quality", True), Column("tokens/s", True), Column("region"),
    )  # fmt: skip
    rows = tuple(_offer(each, awards.get(each.node)) for each in last.book)
    table = Table(
        "book",
        "Book of the last round, the cheapest first",
        columns,
        rows,
        "Nobody revealed a bid.",
    )
    return Section(
        "clearing",
        "Last clearing",
        (words, *more),
        tables=(table,),
        links=(Link(f"Entry #{last.entry}", paths.entry(last.entry)),),
    )


def _offer(bid: OfferView, award: AwardView | None) -> tuple[Cell, ...]:
    paid = None if award is None else award.price_micro
    quality = "new" if bid.quality_permille is None else f"{bid.quality_permille / 1000:.3f}"
    return (
        did(bid.node, paths.node(bid.node)), did(bid.operator, paths.operator(bid.operator)),
        Cell(price(bid.micro), bid.micro), Cell(str(bid.lots), bid.lots),
        Cell(str(bid.won), bid.won, tone="good" if bid.won else "quiet"),
        Cell(wording.UNKNOWN if paid is None else price(paid), paid), Cell(quality, bid.quality_permille),
        Cell(f"{bid.rate_milli / 1000:.1f}" if bid.rate_milli else wording.UNKNOWN, bid.rate_milli),
        Cell(wording.shown(bid.region, 40)),
    )  # fmt: skip


def _prices(view: MarketView, cleared: Sequence[Cleared]) -> Chart | None:
    """From the chronicle; where it has none, from what the market itself remembers."""
    rows = [(each.at_ms, each.price_micro, each.entry) for each in cleared]
    entries = tuple(entry for _, _, entry in rows)
    if not rows:
        rows = [(each.at_ms, each.price_micro, 0) for each in view.past]
    rows = [each for each in rows if each[1]]
    if not rows:
        return None
    xs = tuple(float(at) for at, _, _ in rows)
    lines = [Line("cleared", tuple(rounded(micro / MICRO) for _, micro, _ in rows))]
    for name, micro in (
        ("reserve", view.terms.reserve_micro),
        ("data centre", view.terms.central_micro),
    ):
        if micro is not None:
            lines.append(Line(name, tuple(rounded(micro / MICRO) for _ in rows)))
    proofs = tuple(entry for _, _, entry in rows) if entries else ()
    return Chart(
        "prices",
        "Price per million tokens",
        "credits",
        "time",
        xs,
        tuple(lines),
        proofs,
        kind="steps",
    )
