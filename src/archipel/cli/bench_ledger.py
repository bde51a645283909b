"""`archipel bench ledger`: what a ledger bears, and what it costs to verify one and to show a part of it."""

from pathlib import Path
from typing import Any

import click

from archipel.cli.benches import (
    JSON,
    PNG,
    chosen,
    out_folder,
    out_option,
    quick_option,
    seeds_option,
    teller,
    whatever_ends,
)


@click.command("ledger")
@click.option(
    "--entries",
    type=click.IntRange(16, 10_000_000),
    multiple=True,
    help="Sizes at which a ledger is verified and shown in part [1000 to 1000000; quick: 1000, 5000].",
)
@click.option(
    "--records", type=click.IntRange(16, 1_000_000), help="Of one flow [12,000; quick: 6,000]."
)
@click.option(
    "--proofs", type=click.IntRange(1, 100_000), help="Of each kind and size [300; quick: 50]."
)
@click.option(
    "--storage",
    "storages",
    type=click.Choice(["sqlite", "postgres"]),
    multiple=True,
    help="Only this one [both, where a PostgreSQL server is installed].",
)
@click.option("--no-growth", is_flag=True, help="Only records appended: no ledger is grown.")
@seeds_option("default: 5; quick: 2")
@PNG
@quick_option("Small ledgers and short flows: about a minute where nothing else runs.")
@out_option("ledger")
@JSON
def command(
    quick: bool, no_growth: bool, png: Path | None, out: Path | None, as_json: bool, **given: Any
) -> None:
    """Measure a ledger: signed records appended, entries verified, proofs made and checked, by size.

    Records are opened, admitted, folded and appended in groups, durably, as a lab does with what comes over HTTP;
    a ledger of real signed entries grows to each size and is verified by `archipel ledger verify`. PostgreSQL is a
    private server, started here. The whole takes about half an hour, most of it to sign a million entries.

    \b
    Examples:
      archipel bench ledger --quick
      archipel bench ledger --storage sqlite --no-growth
      archipel bench ledger --out runs/ledger --png ledger.png

    Whatever stops a measurement, it prints what it has, and the same command with the same --out goes on.
    """
    from dataclasses import replace

    from archipel.bench.kept import NotOurs
    from archipel.bench.ledger import QUICK, Bench, Plan
    from archipel.bench.ledger_growth import NotVerified
    from archipel.bench.ledger_report import draw, table, to_json
    from archipel.bench.ledger_server import NoServer
    from archipel.cli.doors import mending, show

    plan = QUICK if quick else Plan()
    names = ("entries", "records", "proofs", "storages", "seeds")
    plan = replace(plan, **chosen(plan, given, *names))
    plan = replace(plan, entries=()) if no_growth else plan
    folder, tell = out_folder(out, "ledger"), teller()
    with mending(NotOurs, NotVerified, NoServer, OSError, ValueError):
        bench = Bench(plan, folder, tell)

        def finish() -> None:
            rows = bench.rows()
            if png is not None and rows:
                draw(rows, png)
            found = to_json(rows, bench.limits)
            show(found, as_json, lambda: table(rows, bench.limits))

        with whatever_ends(folder, tell, finish):
            bench.measure()
