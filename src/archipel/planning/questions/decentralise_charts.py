"""`plan decentralise`, charts: cost against the number of sites and against the line, and the asks."""

from collections.abc import Sequence

import numpy as np

from archipel.planning.plan import Chart, Lines, Series
from archipel.planning.quantity import Quantity
from archipel.planning.questions.decentralise_asked import LINES
from archipel.planning.questions.sheet import Sheet
from archipel.planning.sampling import Draws
from archipel.planning.sweeping import band, each_along, spaced
from archipel.planning.units import factor, unit

MOST_SHOWN = 10_000
LEAST_PERCENT = 1e-9
"""Of the market: nobody hires less."""
SLOWEST_MBIT, FASTEST_MBIT = 10.0, 30_000.0
DEAREST_SHOWN = 100.0
"""Beyond a hundred times one cluster's cost a method is out of the question."""
COST = "cost of the run / cost on one cluster"


def _centre(of: Quantity) -> float:
    return Draws(count=1).centre(of)


def charts(of: Sheet) -> tuple[Chart, ...]:
    """Against sites, against the line, and the market's asks if it is cleared here."""
    drawn = [_against_sites(of), _against_line(of)]
    return (*drawn, _asks(of)) if of.get("posted.median") else tuple(drawn)


def _against_sites(of: Sheet) -> Lines:
    most, sites, share = float(MOST_SHOWN), of["decentral.sites"], of.get("market.share")
    if share is not None:
        most = min(most, 100.0 / max(_centre(share), LEAST_PERCENT) * _centre(sites))
    places = [float(place) for place in np.unique(np.round(spaced(1.0, max(most, 2.0))))]
    return Lines(
        "Cost over one cluster, by number of sites",
        "sites", COST, _costs(of, sites, places, places), log_x=True, log_y=True,
        mark_x=((_centre(sites), "asked"),),
    )  # fmt: skip


def _against_line(of: Sheet) -> Lines:
    """Upload moves; a download of its own stays."""
    places, up = spaced(SLOWEST_MBIT, FASTEST_MBIT), of[of.fill("{up}")]
    mbit = factor(up.unit, unit("Mbit/s"))
    marks = [(_centre(of[f"decentral.upload.{line}"].to("Mbit/s")), line) for line in LINES]
    return Lines(
        "Cost over one cluster, by upload of a site",
        "Mbit/s", COST, _costs(of, up, [place / mbit for place in places], places),
        log_x=True, log_y=True, mark_x=tuple(marks),
    )  # fmt: skip


def _costs(
    of: Sheet, moved: Quantity, places: Sequence[float], shown: Sequence[float]
) -> tuple[Series, ...]:
    """A line for each method, without the places where it costs too much to show; `shown` is the axis."""
    made, names = [], of.entries("methods")
    costs = each_along([of[f"{name}.ratio"] for name in names], moved, places)
    for name, cost_at in zip(names, costs, strict=True):
        chosen = name == of.words["method"]
        low, high = band(of[f"{name}.ratio"], moved, places) if chosen else ([], [])
        kept = [i for i, cost in enumerate(cost_at) if cost <= DEAREST_SHOWN]

        def at(values: Sequence[float], kept: list[int] = kept) -> list[float]:
            return [min(values[i], 3 * DEAREST_SHOWN) for i in kept] if values else []

        if kept:
            x = [shown[i] for i in kept]
            made.append(Series(name, x, at(cost_at), at(low), at(high)))
    return (*made, Series("one cluster", [shown[0], shown[-1]], [1.0, 1.0], style="dashed"))


def _asks(of: Sheet) -> Lines:
    """The cheapest share of the market: its dearest and its mean ask."""
    percent = [float(each) for each in 100.0 * np.linspace(0.005, 0.97, 60)]
    asks = [of["market.price"], of["market.average"]]
    dearest, mean = each_along(asks, of["market.share"], percent)
    return Lines(
        "What the market asks",
        "share of the market hired, cheapest first (%)", "USD per accelerator-hour",
        (
            Series("clearing price", percent, dearest),
            Series("mean ask of those hired", percent, mean),
            Series("one cluster", percent, [_centre(of["central.price"])] * 60, style="dashed"),
        ),
        mark_x=((_centre(of["market.share"]), "this fleet"),),
    )  # fmt: skip
