"""`archipel plan report`: plans as one HTML page."""

from pathlib import Path

import click

from archipel.cli.doors import mending

MOST_PLANS = 24
"""A page that people still read."""


@click.command("report")
@click.argument("plans", nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="report.html",
    show_default=True,
    help="Where to write the page.",
)
@click.option("--title", default="What it costs, what it buys, when to stop", help="Its title.")
def command(plans: tuple[str, ...], out: Path, title: str) -> None:
    """Plans as one self-contained HTML page that a sponsor can read.

    Each plan is a file saved with --save or a quoted request; without any, every question with its
    defaults. The page holds its pictures, fetches nothing, prints well, and lists its sources.

    \b
    Examples:
      archipel plan report --out report.html
      archipel plan report "train --budget 50k" "serve" --title "A small lab"
      archipel plan report mine.json "meek --budget 1M"
    """
    from archipel.cli.doors import Mendable
    from archipel.cli.questions import check_place, write
    from archipel.cli.quoted import put
    from archipel.planning.mistakes import CannotPlan
    from archipel.planning.page import page
    from archipel.planning.requests import REQUESTS

    if len(plans) > MOST_PLANS:
        raise Mendable(f"got {len(plans)} plans, expected at most {MOST_PLANS} on one page")
    check_place(out)
    with mending(CannotPlan):
        found = []
        for number, text in enumerate(asked := plans or tuple(REQUESTS), 1):
            click.echo(f"{number}/{len(asked)}  {text}", err=True)
            found.append(put(text)[1].data())
        click.echo("drawing", err=True)
        write(out, page(found, title).encode())
