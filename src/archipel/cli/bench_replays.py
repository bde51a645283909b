"""`archipel bench replays`: which lies making contributions again finds, and how far machines lie apart."""

from typing import Any

import click

from archipel.cli.benches import JSON, chosen, quick_option, seeds_option, teller


@click.command("replays")
@seeds_option("3; quick: 1")
@click.option(
    "--steps", type=click.IntRange(2, 1000), help="Inner steps of a contribution [20; quick: 4]."
)
@click.option(
    "--codec",
    "codecs",
    type=click.Choice(["float32", "int8", "e3m0", "top_k"]),
    multiple=True,
    help="Only this; repeatable. Lies are sent by the last.",
)
@click.option(
    "--optimiser",
    "optimisers",
    type=click.Choice(["adamw", "muon"]),
    multiple=True,
    help="Only this; repeatable.",
)
@quick_option("A tiny model, one codec, no other processes.")
@JSON
def command(quick: bool, as_json: bool, **given: Any) -> None:
    """Make contributions of pretraining again, honest ones and those of every kind of liar, as an audit does.

    The same contribution is made with another number of threads and by a process that uses no wide vectors, too: what these
    lie apart says what `audit.distance` of a recipe may be. Takes some minutes on one core.

    \b
    Examples:
      archipel bench replays --quick
      archipel bench replays --seeds 5 --codec e3m0 --json
    """
    from dataclasses import replace

    from archipel.bench.endings import in_order
    from archipel.bench.replay_ground import QUICK, Plan
    from archipel.bench.replay_report import table, to_json
    from archipel.bench.replays import begun, measure
    from archipel.cli.doors import mending, show

    plan = QUICK if quick else Plan()
    plan = replace(plan, **chosen(plan, given, "seeds", "steps", "codecs", "optimisers"))
    found = begun(plan)
    with mending(OSError, ValueError), in_order():
        try:
            measure(found, teller())
        finally:
            show(to_json(found), as_json, lambda: table(found))
