"""`plan decentralise`: tables in order, caveats, and the sentence that answers."""

import math
from collections.abc import Sequence

from archipel.planning.plan import Table
from archipel.planning.questions.decentralise_lines import (
    activation,
    exchanges,
    needed_memory,
    penalties,
    site,
)
from archipel.planning.questions.decentralise_market import Prices
from archipel.planning.questions.decentralise_method import Way
from archipel.planning.questions.decentralise_money import (
    chain,
    floor_of,
    methods,
    readings,
    subsidies,
)
from archipel.planning.questions.decentralise_run import Run
from archipel.planning.questions.deciding import decided, share_of_worlds
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf


def tables(
    run: Run, prices: Prices, ways: Sequence[Way], chosen: Way, shelf: Shelf
) -> tuple[Table, ...]:
    """Methods first; then where the chosen one's cost comes from."""
    made = [
        methods(ways),
        chain(prices, chosen, shelf),
        subsidies(run, prices, chosen, shelf),
        readings(run, prices, shelf),
        exchanges(run, chosen, shelf),
        penalties(run, shelf),
        site(run, chosen, shelf),
    ]
    if chosen.name == "rl-rollouts":
        made.insert(2, activation(run, prices, chosen, shelf))
    return tuple(table for table in made if table.rows)


def remarks(run: Run, prices: Prices, way: Way, shelf: Shelf) -> tuple[str, ...]:
    """What a reader must not miss."""
    centre = Draws(count=1).centre
    said = []
    if not fits(run, way, shelf):
        needs, has = (centre(each) for each in needed_memory(run, way, shelf))
        each = has / centre(run.per_site)
        count = needs / each if each > 0 else math.inf
        more = f"at least {math.ceil(count):,} accelerators per site" if count < 1e9 else "others"
        said.append(
            f"A site cannot hold the model: {needs:,.0f} GB needed, {has:,.0f} GB there; take {more}, "
            "or a smaller model."
        )
    if centre(prices.paid) < centre(floor_of(run, shelf)):
        said.append(
            "The price is below what the electricity costs a provider: somebody else pays, or it "
            "will not last."
        )
    said += [
        "The penalty n^x rests on experiments with at most 16 replicas; beyond, both readings extrapolate.",
        "Prices are cash asks of rental markets. Where tokens pay the providers, give their share with "
        "--subsidy: it is then added to the price.",
        "The market is cleared from the cheapest ask upwards and every site is paid the last one's ask; "
        "asks are taken as log-normal, which nobody has checked.",
        "Sites are taken as equal. Latency, egress fees, stragglers, and staff to run a market are not "
        "counted; nor is what an idle cluster of one's own would cost.",
    ]
    if way.name == "data-parallel":
        said.append("Data parallel stops every site at each departure.")
    if way.name == "rl-rollouts":
        said.append(
            "Tokens are those the learner trains on; generating them takes rl.inference_per_training "
            "times its compute, and only that part is bought on the market."
        )
    return tuple(said)


def fits(run: Run, way: Way, shelf: Shelf) -> bool:
    """Whether one site can hold what the method keeps at every site."""
    centre = Draws(count=1).centre
    needs, has = needed_memory(run, way, shelf)
    return centre(needs) <= centre(has)


def verdict(prices: Prices, ways: Sequence[Way], way: Way, fits: bool) -> str:
    """When the market wins, and in how many of the sampled worlds it does."""
    draws = Draws(count=1)
    at_hand = draws.centre(prices.paid / prices.central)
    even = draws.centre(way.break_even)
    alike = [each for each in ways if each.name != "rl-rollouts"]
    priced = [each for each in alike if math.isfinite(draws.centre(each.ratio))]
    best = min(priced, key=lambda each: draws.centre(each.ratio), default=way)
    beside = ""
    if not fits:
        beside = " But a site cannot hold this model."
    elif way in alike and best is not way:
        beside = f" Cheapest here: {best.name}, at {draws.centre(best.ratio):.0%} of one cluster."
    if not (math.isfinite(even) and math.isfinite(at_hand)):
        return (
            f"No cost comes out for {way.name} under these constants: look at what --set changed."
        )
    if even <= 0:
        return f"With {way.name} no price makes the market cheaper: its learner waits too long.{beside}"
    won = share_of_worlds(way.ratio, lambda ratio: ratio < 1.0)
    wins = decided(won, "the market wins", "the market loses", "it is undecided who wins")
    return (
        f"With {way.name} {wins} (market cheaper in {won:.0%} of sampled worlds): it must ask less than "
        f"{even:.0%} of a cluster's price, and asks {at_hand:.0%}.{beside}"
    )
