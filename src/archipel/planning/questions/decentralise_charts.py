"""`plan decentralise`, charts: cost against the number of sites and against the line, and the asks."""

from collections.abc import Sequence

import numpy as np

from archipel.planning.laws.clearing import average_price, clearing_price
from archipel.planning.plan import Chart, Lines, Series
from archipel.planning.quantity import Quantity
from archipel.planning.questions.decentralise_market import Prices
from archipel.planning.questions.decentralise_method import Way
from archipel.planning.questions.decentralise_run import LINES, Run
from archipel.planning.sampling import Draws
from archipel.planning.sweeping import curve, spaced
from archipel.planning.tables import Shelf
from archipel.planning.units import factor, unit

MOST_SHOWN = 10_000
LEAST_PERCENT = 1e-9
"""Of the market: nobody hires less."""
SLOWEST_MBIT, FASTEST_MBIT = 10.0, 30_000.0
DEAREST_SHOWN = 100.0
"""Beyond a hundred times one cluster's cost a method is out of the question."""


def charts(
    run: Run, prices: Prices, ways: Sequence[Way], chosen: Way, shelf: Shelf
) -> tuple[Chart, ...]:
    """Against sites, against the line, and the market's asks if it is cleared here."""
    drawn = [_against_sites(run, prices, ways, chosen), _against_line(run, ways, chosen, shelf)]
    if prices.median is not None:
        drawn.append(_asks(prices))
    return tuple(drawn)


def _against_sites(run: Run, prices: Prices, ways: Sequence[Way], chosen: Way) -> Lines:
    centre = Draws(count=1).centre
    most = float(MOST_SHOWN)
    if prices.share is not None:
        most = min(most, 100.0 / max(centre(prices.share), LEAST_PERCENT) * centre(run.sites))
    places = [float(place) for place in np.unique(np.round(spaced(1.0, max(most, 2.0))))]
    return Lines(
        "Cost over one cluster, by number of sites",
        "sites", "cost of the run / cost on one cluster",
        _capped([_line(way, run.sites, places, chosen) for way in ways]),
        log_x=True, log_y=True, mark_x=((centre(run.sites), "asked"),),
    )  # fmt: skip


def _against_line(run: Run, ways: Sequence[Way], chosen: Way, shelf: Shelf) -> Lines:
    """Upload moves; a download of its own stays."""
    centre = Draws(count=1).centre
    places = spaced(SLOWEST_MBIT, FASTEST_MBIT)
    in_unit = [place / _mbit(run.up) for place in places]
    moved = [_line(way, run.up, in_unit, chosen) for way in ways]
    series = [Series(s.label, places, s.y, s.low, s.high, s.style) for s in moved]
    marks = [
        (centre(shelf[f"decentral.upload.{line}"].to("Mbit/s")), line) for line in LINES
    ]  # fmt: skip
    return Lines(
        "Cost over one cluster, by upload of a site",
        "Mbit/s", "cost of the run / cost on one cluster",
        _capped(series), log_x=True, log_y=True, mark_x=tuple(marks),
    )  # fmt: skip


def _mbit(of: Quantity) -> float:
    """Mbit/s in one of its unit."""
    return factor(of.unit, unit("Mbit/s"))


def _line(way: Way, moved: Quantity, places: Sequence[float], chosen: Way) -> Series:
    return curve(way.name, way.ratio, moved, places, banded=way is chosen)


def _capped(series: Sequence[Series]) -> tuple[Series, ...]:
    """Without the places where a method costs too much to show."""
    made = []
    for each in series:
        kept = [i for i, cost in enumerate(each.y) if cost <= DEAREST_SHOWN]

        def at(values: Sequence[float], kept: list[int] = kept) -> list[float]:
            return [min(values[i], 3 * DEAREST_SHOWN) for i in kept] if values else []

        if kept:
            made.append(
                Series(
                    each.label, [each.x[i] for i in kept], at(each.y), at(each.low), at(each.high)
                )
            )
    ends = [series[0].x[0], series[0].x[-1]]
    return (*made, Series("one cluster", ends, [1.0, 1.0], style="dashed"))


def _asks(prices: Prices) -> Lines:
    """The cheapest share of the market: its dearest and its mean ask."""
    centre = Draws(count=1).centre
    if prices.median is None or prices.spread is None or prices.share is None:
        raise TypeError("a given price has no market to draw")
    median, spread = centre(prices.median), centre(prices.spread)
    shares = [float(share) for share in np.linspace(0.005, 0.97, 60)]
    held = np.array(shares)
    percent = [100.0 * share for share in shares]
    return Lines(
        "What the market asks",
        "share of the market hired, cheapest first (%)", "USD per accelerator-hour",
        (
            Series("clearing price", percent, list(map(float, clearing_price(median, spread, held)))),
            Series("mean ask of those hired", percent, list(map(float, average_price(median, spread, held)))),
            Series("one cluster", percent, [centre(prices.central)] * len(percent), style="dashed"),
        ),
        mark_x=((centre(prices.share), "this fleet"),),
    )  # fmt: skip
