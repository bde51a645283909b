"""`archipel market`: how a run's rollouts are bought: the open round, the last clearing with its book, prices over time."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import LAB, Mendable, mending, printable, show
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.names import run_names
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.records.market_documents import ClearingView, MarketView, OfferView, PastView

MICRO = 1_000_000
BARS, BAR = 24, "#"
SHOWN_PAST = 12


@click.command()
@click.argument("run", required=False, shell_complete=run_names)
@LAB
@click.option(
    "--rows",
    default=20,
    show_default=True,
    type=click.IntRange(0, 1000),
    help="Bids and awards shown, the cheapest first.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="Draw prices, lots and bids over time.",
)
@click.option(
    "--watts",
    default=15,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Draw of a thrifty machine: an ask below its energy, at the measured speed, is marked.",
)
@click.option(
    "--energy-price",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0, 1000),
    metavar="CREDITS",
    help="Of a kilowatt-hour, for the same mark.",
)
@JSON
def command(
    run: str | None,
    lab_url: str,
    rows: int,
    plot: Path | None,
    watts: int,
    energy_price: float,
    as_json: bool,
) -> None:
    """The market of RUN, or of every run that has one: round, book, last clearing, prices, concentration.

    Bids are shown once a round is cleared, not before. Prices are credits per million verified output tokens.

    \b
    Examples:
      archipel market
      archipel market my-run --rows 100
      archipel market my-run --plot prices.png
      archipel market my-run --json | jq .[0].last.price_micro
    """
    from archipel.market.health import Machine

    views = ask_lab(_views(lab_url, run, rows))
    if plot is not None:
        with mending(OSError, ValueError):
            draw(views, plot)
        click.echo(str(plot), err=True)

    def floor(rate_milli: int) -> Machine | None:
        if rate_milli <= 0:
            return None
        return Machine(watts, 1000, round(energy_price * MICRO), rate_milli)

    marks = {
        each.node
        for view in views
        for each in _book(view)
        if _is_dumping(each, floor(each.rate_milli))
    }
    told = [view.model_dump(mode="json") | _more(view, marks) for view in views]
    show(
        told,
        as_json,
        lambda: printable("\n".join(line for v in views for line in _lines(v, marks))),
    )


async def _views(url: str, run: str | None, rows: int) -> "list[MarketView]":
    from archipel.node.client import LabReader
    from archipel.node.exchange import LabRefused
    from archipel.node.histories import all_runs
    from archipel.records.market_documents import MarketView

    async with LabReader(url) as lab:
        names = [run] if run else [each.run for each in await all_runs(lab)]
        views = []
        for name in names:
            try:
                views.append(
                    await lab.read(MarketView, f"/runs/{name}/market", params={"rows": rows})
                )
            except LabRefused:
                if run:
                    raise
    if not views:
        raise Mendable(
            "no run of this lab has a market: a recipe asks for one by a section [market]"
        )
    return views


def _is_dumping(offer: "OfferView", machine: Any) -> bool:
    from archipel.market.health import is_dumping

    return machine is not None and is_dumping(offer.micro, machine)


def _more(view: "MarketView", marks: set[str]) -> dict[str, Any]:
    return {"below_energy": sorted(marks & {each.node for each in _book(view)})}


def _book(view: "MarketView") -> "tuple[OfferView, ...]":
    return view.last.book if view.last is not None else ()


def _lines(view: "MarketView", marks: set[str]) -> Iterator[str]:
    terms = view.terms
    yield (
        f"{view.run}: reserve {_price(terms.reserve_micro)}, a lot is {terms.lot_milli / 1000:g} tokens/s"
        + (
            ""
            if view.needed_milli is None
            else f", the learner needs {view.needed_milli / 1000:.1f} tokens/s"
        )
    )
    yield from _round_lines(view)
    if view.last is None:
        yield f"  not cleared yet: each accepted group is paid {view.posted_micro / MICRO:g} credits"
        return
    yield from _clearing_lines(view, view.last)
    yield from _book_lines(view.last, marks)
    yield from _past_lines(view)


def _round_lines(view: "MarketView") -> Iterator[str]:
    opened = view.round
    if opened is None:
        yield "  no round is open"
        return
    until = opened.commit_until_ms if opened.phase == "committing" else opened.reveal_until_ms
    left = max(until - view.now_ms, 0) / 1000
    yield (
        f"  round {opened.number}, {opened.phase} for another {left:.0f} s: {counted(opened.lots, 'lot')} wanted, "
        f"{opened.sealed} sealed, {opened.revealed} revealed"
    )


def _clearing_lines(view: "MarketView", last: "ClearingView") -> Iterator[str]:
    at = datetime.fromtimestamp(last.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if not last.price_micro:
        yield (
            f"  round {last.number} ({at}): nobody revealed a bid; each accepted group is paid "
            f"{view.posted_micro / MICRO:g} credits"
        )
        return
    yield (
        f"  round {last.number} ({at}): {last.bought} of {counted(last.lots, 'lot')} bought"
        f" at a clearing price of {_price(last.price_micro)}"
        + (
            f"; {counted(last.short, 'lot')} not offered within the reserve by nodes that were measured when it opened"
            if last.short
            else ""
        )
    )
    if not view.in_force:
        yield (
            "  nobody who was measured before was bought, so each accepted group is paid "
            f"{view.posted_micro / MICRO:g} credits"
        )
    for each in last.awards:
        new = ", new here" if each.is_newcomer else ""
        yield f"    {each.node[-12:]}  {counted(each.lots, 'lot')} at {_price(each.price_micro)}{new}"
    if last.bought:
        regions = ", ".join(
            f"{name} {share / 10:g}%" for name, share in last.regions_permille.items()
        )
        yield f"  concentration {last.operators_hhi} of 10000 by operator; lots by region: {regions}"
    central = view.terms.central_micro
    if central:
        share = last.price_micro / central
        yield f"  a data centre's list price is {_price(central)}: this is {share:.0%} of it"


def _book_lines(last: "ClearingView", marks: set[str]) -> Iterator[str]:
    yield f"  book: {counted(last.bids, 'bid')}" + (
        f", the cheapest {len(last.book)}" if len(last.book) < last.bids else ""
    )
    for each in last.book:
        known = (
            "new here"
            if each.quality_permille is None
            else f"{each.quality_permille / 10:g}% right"
        )
        marked = ", below the energy of a thrifty machine" if each.node in marks else ""
        won = f"  {counted(each.won, 'lot')} bought" if each.won else ""
        yield (
            f"    {each.node[-12:]}  {_price(each.micro)} x {counted(each.lots, 'lot')}  {each.region}  {known}{won}{marked}"
        )


def _past_lines(view: "MarketView") -> Iterator[str]:
    past = view.past[-SHOWN_PAST:]
    top = max((each.price_micro for each in past), default=0)
    if len(past) < 2 or not top:
        return
    yield "  prices of the newest rounds"
    for each in past:
        bar = BAR * round(BARS * each.price_micro / top)
        told = _price(each.price_micro) if each.price_micro else "void"
        yield f"    {each.number:>6}  {told:<12} {bar}"


def _price(micro: int) -> str:
    return f"{micro / MICRO:.6g} credits/M tokens"


def draw(views: "list[MarketView]", path: Path) -> None:
    """Prices, lots bought and bids over time, a row of panels for all runs.

    Raises:
        OSError: the file cannot be written.
        ValueError: matplotlib has no such form of picture, or nothing was cleared yet.
    """
    if not any(view.past for view in views):
        raise ValueError("no round was cleared yet; there is nothing to draw")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(1, 3, figsize=(15, 3.2), dpi=130)
    panels: tuple[tuple[str, Callable[[PastView], float]], ...] = (
        ("credits per million tokens", lambda each: each.price_micro / MICRO),
        ("lots bought", lambda each: each.bought),
        ("bids", lambda each: each.bids),
    )
    try:
        for axes, (title, value) in zip(grid, panels, strict=True):
            for view in views:
                times = [datetime.fromtimestamp(each.at_ms / 1000, UTC) for each in view.past]
                axes.step(times, [value(each) for each in view.past], where="post", label=view.run)
            axes.set_title(title, fontsize=10)
            axes.tick_params(axis="x", labelrotation=30, labelsize=7)
            axes.grid(alpha=0.3)
        grid[0].legend(fontsize=8)
        figure.tight_layout()
        figure.savefig(path)
    finally:
        pyplot.close(figure)
