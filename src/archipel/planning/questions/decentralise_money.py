"""`plan decentralise`, tables of money: every method, price to cost, subsidies, readings of the market."""

from collections.abc import Sequence
from dataclasses import replace

from archipel.planning.laws.clearing import clearing_price, log_spread, log_spread_of_tail
from archipel.planning.plan import Cell, Table
from archipel.planning.quantity import Quantity, Stated, derive, stated
from archipel.planning.questions.decentralise_market import HOURLY, Prices
from archipel.planning.questions.decentralise_method import Way
from archipel.planning.questions.decentralise_run import Run
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

Row = tuple[Cell, ...]
LEAST_LOST = 0.05
"""Percent of paid time: below it churn is no row of its own."""


def methods(ways: Sequence[Way]) -> Table:
    rows: list[Row] = [
        (
            way.name + (" (another run: learning by reward)" if way.name == "rl-rollouts" else ""),
            way.exchange,
            way.utilisation.to("percent"),
            way.ratio,
            way.break_even,
        )
        for way in ways
    ]
    heads = ("method", "one exchange", "computing", "cost, × one cluster", "break-even price, ×")
    return Table("Every method on these sites, at its published settings", heads, tuple(rows))


def chain(prices: Prices, way: Way, shelf: Shelf) -> Table:
    """From the price to the cost of a useful hour."""
    rows: list[Row] = []
    if prices.median is not None and prices.average is not None and prices.share is not None:
        rows += [
            ("the cheapest tenth asks at most", _ask(prices.median, 0.1, shelf)),
            ("median ask", prices.median),
            ("the dearest tenth asks at least", _ask(prices.median, 0.9, shelf)),
            ("share of the market hired", prices.share),
            ("mean ask of those hired", prices.average),
        ]
    useful = (prices.paid * way.factor).named(
        "market.useful_hour", "a useful accelerator-hour on the market", HOURLY
    )
    central = (prices.central / prices.central_goodput).named(
        "central.useful_hour", "a useful accelerator-hour on one cluster", HOURLY
    )
    rows += [
        ("price paid (clearing), no subsidy", prices.paid),
        ("× compute for equal loss", way.penalty),
        ("× checked and thrown away", way.checked),
        *_kept(way),
        ("/ computing, not waiting", way.utilisation),
        ("= a useful hour, market", useful),
        ("a useful hour, one cluster", central),
    ]
    return Table("From price to cost", ("", ""), tuple(rows))


def _kept(way: Way) -> list[Row]:
    """What churn takes, where it takes anything worth a row."""
    lost = (1 - way.goodput).named(f"{way.name}.lost", "paid time lost to churn", "percent")
    shown = Draws(count=1).centre(lost)
    return [("/ kept through churn: 100% less", lost)] if shown >= LEAST_LOST else []


def _ask(median: Quantity, share: float, shelf: Shelf) -> Quantity:
    """The ask below which a share of the market lies."""
    spread = shelf["decentralise.ask_spread"]
    return derive(
        f"market.ask_{100 * share:.0f}", HOURLY, [(median, HOURLY), (spread, "1")],
        lambda middle, wide: clearing_price(middle, wide, share),
        f"{median.name} × exp({spread.name} × z({share:g}))", f"{share:.0%} of all ask less",
    )  # fmt: skip


def subsidies(run: Run, prices: Prices, way: Way, shelf: Shelf) -> Table:
    """What buyers would pay if rewards from elsewhere stopped."""
    emissions = shelf["decentral.price.emissions_per_revenue"]
    alone = (prices.asked * (1 + emissions)).named(
        "market.without_emissions", "price if such rewards stopped", HOURLY
    )
    ratio = (alone / prices.central / way.break_even).named(
        "market.without_emissions.ratio", "price ratio over break-even, such rewards stopped", "1"
    )
    now = (prices.paid / prices.central / way.break_even).named(
        "market.over_break_even", "price ratio over break-even", "1"
    )
    rows: tuple[Row, ...] = (
        ("as paid here", prices.paid, now),
        ("if providers lived on rewards like Bittensor's", alone, ratio),
        ("a provider's electricity alone", floor_of(run, shelf), ""),
        (
            "published: inference without rewards, over central",
            "",
            shelf["decentral.price.unsubsidised"],
        ),
    )
    heads = ("", "price", "over break-even")
    title = "Subsidies stripped out (over break-even: below 1 the market is cheaper)"
    return Table(title, heads, rows)


def floor_of(run: Run, shelf: Shelf) -> Quantity:
    """What the electricity of an hour costs a provider: who asks less is paid by somebody else."""
    draw = shelf[f"accelerator.{run.kind}.server_power"] * shelf["power.draw_share.gpu"]
    return (draw * shelf["energy.price.world"]).named(
        "market.floor", "electricity of an accelerator-hour", HOURLY
    )


def readings(run: Run, prices: Prices, shelf: Shelf) -> Table:
    """The clearing price under each reading of how far asks lie apart."""
    rows: list[Row] = []
    if prices.median is None or prices.share is None:
        return Table("The market: price given", ("", ""), ())
    figure = shelf.entry(prices.median.name).figure
    family = f"rental.dispersion.{run.kind.partition('-')[0]}"
    ranged = shelf[family if family in shelf else "rental.dispersion.h100"]
    observed = shelf["decentralise.providers_observed"]
    by_range = derive(
        "market.spread.range", "1", [(ranged, "1"), (observed, "1")], log_spread,
        f"ln({ranged.name}) over the expected range of {observed.name} normal values",
        "spread of log asks, by dearest over cheapest",
    )  # fmt: skip
    readings = [("by dearest over cheapest", "range", by_range)]
    if figure.low is not None:
        readings.append(
            (
                "by the cheapest 5% of posted prices",
                "tail",
                _by_tail(prices.median.name, figure, figure.low),
            )
        )
    for text, name, spread in readings:
        price = derive(
            f"market.price.{name}", HOURLY,
            [(prices.median, HOURLY), (spread, "1"), (prices.share, "1")], clearing_price,
            f"{prices.median.name} × exp({spread.name} × z(market.share))", f"clearing price, {text}",
        )  # fmt: skip
        rows.append((text, spread, price))
    return Table("Clearing price by how far asks lie apart", ("", "spread", "price"), tuple(rows))


def _by_tail(name: str, figure: Stated, cheapest: float) -> Quantity:
    """Spread from the two printed figures alone, each exact."""
    ends = [
        stated(
            f"{name}.{part}", HOURLY, replace(figure, value=value, low=None, high=None, also=()),
            f"{part} of the posted prices",
        )
        for part, value in (("middle", figure.value), ("cheapest", cheapest))
    ]  # fmt: skip
    return derive(
        "market.spread.tail", "1", [(end, HOURLY) for end in ends], log_spread_of_tail,
        f"ln({ends[0].name} / {ends[1].name}) / 1.645", "spread of log asks, by the cheapest 5%",
    )  # fmt: skip
