"""`archipel market`: how a run's rollouts are bought: the open round, the last clearing with its book, prices over time."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.credits import Amount
from archipel.cli.doors import LAB, Mendable, mending, printable, show
from archipel.cli.lab_door import JSON, ask_lab
from archipel.cli.names import run_names

if TYPE_CHECKING:
    from archipel.records.market_documents import MarketView, OfferView, PastView

MICRO = 1_000_000
OVER = ("complete", "stopped")
"""Phases of a run that buys no more."""


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
@click.option(
    "--rate",
    "rate_micro",
    type=Amount(),
    metavar="USD",
    help="Dollars for a credit: prices in dollars as well.",
)
@JSON
def command(
    run: str | None,
    lab_url: str,
    rows: int,
    plot: Path | None,
    watts: int,
    energy_price: float,
    rate_micro: int | None,
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
    from archipel.cli.market_words import Wording, lines
    from archipel.market.health import Machine

    found = ask_lab(_views(lab_url, run, rows))
    views = [view for view, _ in found]
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

    def words() -> str:
        each = (lines(view, Wording(marks, is_over, rate_micro)) for view, is_over in found)
        return printable("\n".join(chain.from_iterable(each)))

    show(told, as_json, words)


async def _views(url: str, run: str | None, rows: int) -> "list[tuple[MarketView, bool]]":
    """Markets, and whether the run of each is over."""
    from archipel.node.client import LabReader
    from archipel.node.exchange import LabRefused
    from archipel.node.histories import all_runs, run_or_none
    from archipel.records.market_documents import MarketView

    async with LabReader(url) as lab:
        one = await run_or_none(lab, run) if run else None
        phases = {each.run: each.phase for each in ([one] if one else await all_runs(lab))}
        views = []
        for name in [run] if run else phases:
            try:
                path = f"/runs/{name}/market"
                view = await lab.read(MarketView, path, params={"rows": rows})
                views.append((view, phases.get(name) in OVER))
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
