"""`archipel bench lab`: how many nodes, records and entries a lab bears."""

from dataclasses import replace
from pathlib import Path

import click

from archipel.cli.benches import out_folder, out_option, teller, whatever_ends
from archipel.cli.outputs import PICTURE

PARTS = ("load", "restart", "flow", "costs", "siege")


@click.command("lab")
@click.option(
    "--nodes",
    type=click.IntRange(1, 15_000),
    multiple=True,
    help="Nodes that wait at the same time [100, 1000, 10000; quick: 20, 200].",
)
@click.option(
    "--rate", type=click.IntRange(2, 10_000), help="Ledger entries a second to aim at [300; 100]."
)
@click.option("--seconds", type=click.FloatRange(1.0, 600.0), help="Length of the window [60; 10].")
@click.option(
    "--wait",
    type=click.FloatRange(1.0, 59.0),
    default=30.0,
    show_default=True,
    help="Seconds that a request for work may wait.",
)
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="Only this part.")
@click.option("--quick", is_flag=True, help="Fewer nodes, entries and seconds: about two minutes.")
@out_option("lab")
@click.option("--png", type=PICTURE, help="Draw the growth curves here.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    nodes: tuple[int, ...],
    rate: int | None,
    seconds: float | None,
    wait: float,
    parts: tuple[str, ...],
    quick: bool,
    out: Path | None,
    png: Path | None,
    as_json: bool,
) -> None:
    """Press a real lab on 127.0.0.1 with thousands of light nodes, restart it, attack it, and say what it costs.

    Every node has its own key and connection; two processes stand for all of them. Answers that got a
    receipt are looked up in the ledger afterwards. The whole takes about half an hour, most of it to
    make a ledger of a million signed entries; leave the machine alone meanwhile.

    \b
    Examples:
      archipel bench lab --quick
      archipel bench lab --part load --nodes 10000
      archipel bench lab --part siege
      archipel bench lab --png lab.png

    Whatever stops a measurement, it prints what it has, and the same command with the same --out goes on.
    """
    from archipel.bench.kept import NotOurs
    from archipel.bench.lab import QUICK, Plan, Pressing
    from archipel.bench.lab_crowds import Lost
    from archipel.bench.lab_report import draw, table, to_json
    from archipel.bench.lab_siege import QUICK_SIEGE, SiegePlan
    from archipel.bench.site import SiteFailed
    from archipel.cli.doors import child_environment, mending, show

    plan = QUICK if quick else Plan()
    load = replace(
        plan.load,
        entries_per_s=rate or plan.load.entries_per_s,
        measured_s=seconds or plan.load.measured_s,
        wait_s=wait,
    )
    chosen = parts or PARTS
    siege = QUICK_SIEGE if quick else SiegePlan()
    plan = Plan(
        nodes=(nodes or plan.nodes) if "load" in chosen else (),
        load=load,
        restarts=plan.restarts if "restart" in chosen else (),
        flow=plan.flow if "flow" in chosen else 0,
        costs=plan.costs if "costs" in chosen else (),
        siege=siege if "siege" in chosen else None,
    )
    folder, tell = out_folder(out, "lab"), teller()
    with mending(SiteFailed, Lost, NotOurs, OSError, TimeoutError):
        pressing = Pressing(plan, folder, child_environment(), tell)

        def finish() -> None:
            if png is not None:
                draw(pressing.measured, png)
            found = pressing.measured
            show(to_json(found), as_json, lambda: table(found))

        with whatever_ends(folder, tell, finish):
            pressing.measure()
