"""`archipel bench pool-plan`: the planner of pools beside the published one, over random pools."""

import click

from archipel.cli.benches import JSON, quick_option, teller
from archipel.cli.telling import seldom


@click.command("pool-plan")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**31),
    help="Of the random pools.",
)
@quick_option("Fewer pools: about half a minute.")
@JSON
def command(seed: int, quick: bool, as_json: bool) -> None:
    """Draw random pools of devices and have each planned, by ours and by the published planner, written anew.

    Counts on how many pools each finds pipelines where some fit, the seconds it takes, and the time of a token on
    what it found. Fails if ours finds none where some fit. Ctrl-C prints what there is.

    \b
    Examples:
      archipel bench pool-plan --quick
      archipel bench pool-plan --seed 1 --json
    """
    from archipel.bench.pool_plan import QUICK, WHOLE, Row, rows, summary, table, wrong
    from archipel.cli.doors import Mendable, show

    tell, found = seldom(teller()), []
    try:
        for size in QUICK if quick else WHOLE:
            own: list[Row] = []
            found.append((size, own))
            for row in rows(size, seed, tell):
                own.append(row)  # Ctrl-C keeps these
    finally:
        told = [summary(size, own) for size, own in found if own]
        if told:
            show({"seed": seed, "sizes": told}, as_json, lambda: table(told))
    if lost := sum(wrong(own) for _, own in found):
        raise Mendable(f"on {lost} pools ours has no plan where one fits; expected none")
