"""`plan decentralise`, prices: what the market clears at, what one cluster asks, what subsidies hide."""

from dataclasses import dataclass

import numpy as np

from archipel.planning.laws.churn import blocking_goodput
from archipel.planning.laws.clearing import average_price, clearing_price
from archipel.planning.mistakes import CannotPlan, Conflict, Impossible
from archipel.planning.quantity import Quantity, derive, given
from archipel.planning.questions.bounds import HOURLY as HOURLY_PRICE
from archipel.planning.questions.bounds import SUPPLY, bounded, checked
from archipel.planning.questions.decentralise_run import Run
from archipel.planning.requests.decentralise import DecentraliseRequest
from archipel.planning.tables import Shelf
from archipel.planning.units import amount, kind_of

HOURLY = "USD/(accelerator*h)"
MOST_OF_MARKET = 0.99
"""A fleet is never the whole market: in worlds where it would be, it pays the dearest asks."""


@dataclass(frozen=True)
class Prices:
    """Per accelerator-hour, and what either side makes of the hour."""

    median: Quantity | None
    """Of all asks; None where the price paid is given."""
    spread: Quantity | None
    share: Quantity | None
    average: Quantity | None
    asked: Quantity
    """What buyers pay."""
    paid: Quantity
    """The same without subsidies."""
    central: Quantity
    central_goodput: Quantity
    availability: Quantity


def prices_of(request: DecentraliseRequest, run: Run, shelf: Shelf) -> Prices:
    """The market's and the cluster's prices.

    Raises:
        Conflict, Impossible, CannotPlan: options that exclude each other, a fleet larger than the
            market, an accelerator without a known price.
    """
    if request.price and request.supply:
        raise Conflict(
            "--price fixes what --supply would clear: drop --supply to pay the price, or --price "
            "to clear the market"
        )
    central = _central(request, run, shelf)
    subsidy = _subsidy(request)
    median = spread = share = average = None
    if request.price:
        asked = _given_price(request.price, "market.price", "--price", "price paid")
    else:
        median, spread, share = _offered(request, run, shelf)
        asked = derive(
            "market.price", HOURLY, [(median, HOURLY), (spread, "1"), (share, "1")],
            clearing_price, f"{median.name} × exp({spread.name} × z(market.share))",
            "clearing price of an accelerator-hour",
        )  # fmt: skip
        average = derive(
            "market.average", HOURLY, [(median, HOURLY), (spread, "1"), (share, "1")],
            average_price, "mean of the asks below market.price", "mean ask of those hired",
        )  # fmt: skip
    paid = (asked / (1 - subsidy)).named(
        "market.unsubsidised", "price with the subsidy paid by the buyer", HOURLY
    )
    home = request.bandwidth.strip().casefold() == "home"
    return Prices(
        median, spread, share, average, asked, paid, central, _central_goodput(run, shelf),
        shelf["decentral.availability.volunteer" if home else "decentral.availability.rented"],
    )  # fmt: skip


def _offered(
    request: DecentraliseRequest, run: Run, shelf: Shelf
) -> tuple[Quantity, Quantity, Quantity]:
    """The asks of a kind: median, spread of logarithms, and the share this fleet takes."""
    kind = run.kind
    supply = shelf["decentralise.supply"]
    if request.supply:
        value = bounded(request.supply, SUPPLY, "--supply")
        supply = given("market.supply", value, "accelerator", "--supply", "accelerators on offer")
    each = amount(request.per_site, "accelerator", "--per-site")
    wanted = amount(request.sites, "site", "--sites") * each
    offered = shelf.entry(supply.name).figure.value if not request.supply else value
    if wanted > offered:
        most = int(offered // each)
        fewer = f"take at most {most:,} sites" if most else f"take fewer than {each:,.0f} a site"
        raise Impossible(
            f"{wanted:,.0f} accelerators are more than the {offered:,.0f} {kind} on offer; {fewer}, "
            "or say how many there are with --supply"
        )
    share = derive(
        "market.share", "percent", [(run.fleet, "accelerator"), (supply, "accelerator")],
        lambda fleet, all_: 100.0 * np.minimum(fleet / all_, MOST_OF_MARKET),
        f"market.accelerators / {supply.name}", "share of the market that the fleet takes",
    )  # fmt: skip
    return posted(kind, shelf), shelf["decentralise.ask_spread"], share


def posted(kind: str, shelf: Shelf) -> Quantity:
    """The median posted price."""
    if f"rental.{kind}" in shelf:
        return shelf[f"rental.{kind}"]
    known = ", ".join(name for name in shelf.members("rental") if f"rental.{name}" in shelf)
    raise CannotPlan(
        f"no rental price of {kind} is known; give --price and --central-price, or choose one of "
        f"{known}"
    )


def _central(request: DecentraliseRequest, run: Run, shelf: Shelf) -> Quantity:
    if request.central_price:
        return _given_price(
            request.central_price, "central.price", "--central-price", "price of one cluster"
        )
    return (posted(run.kind, shelf) * shelf["decentralise.cluster_premium"]).named(
        "central.price", "an accelerator-hour of one connected cluster", HOURLY
    )


def _central_goodput(run: Run, shelf: Shelf) -> Quantity:
    """One cluster of as many accelerators: it fails too, and stops as a whole."""
    parents = [
        (shelf["reliability.mtbf"], "accelerator*h/failure"), (run.fleet, "accelerator"),
        (shelf["reliability.checkpoint.blocking"], "h"), (shelf["reliability.restart"], "h"),
    ]  # fmt: skip
    return derive(
        "central.goodput", "1", parents,
        lambda mtbf, size, saving, restart: blocking_goodput(1.0 / mtbf, size, saving, restart),
        "hardware failures of as many accelerators, checkpoints at Young's interval",
        "share of paid time that failures leave one cluster",
    )  # fmt: skip


def _subsidy(request: DecentraliseRequest) -> Quantity:
    value = amount(request.subsidy, "1", "--subsidy")
    if not 0 <= value < 1:
        raise Impossible(f"--subsidy: got {value:g}, expected a share from 0 to below 1")
    about = "share of providers' income that buyers do not pay"
    return given("market.subsidy", value, "1", "--subsidy", about)


def _given_price(text: str, name: str, option: str, about: str) -> Quantity:
    _, value = kind_of(text, {"price": HOURLY, "price of an hour": "USD"}, option)
    return given(name, checked(value, HOURLY_PRICE, text, option), HOURLY, option, about)
