"""`archipel bench door`: many tenants over one base, beside a process for each."""

from typing import Any

import click

from archipel.cli.benches import JSON, quick_option, teller


@click.command("door")
@click.option(
    "--model",
    type=click.Choice(["tiny", "100m", "135m"]),
    help="Shape of the base [100m, quick: tiny].",
)
@click.option("--rank", type=click.IntRange(1, 256), help="Of every adapter [16].")
@click.option(
    "--tenants",
    multiple=True,
    type=click.IntRange(1, 256),
    help="How many, may be given several times [1, 8 and 32].",
)
@click.option(
    "--length",
    "lengths",
    multiple=True,
    type=click.IntRange(1, 512),
    help="Tokens of a sequence, may be given several times [32 and 256].",
)
@click.option("--sequences", type=click.IntRange(1, 64), help="Of a tenant's step [1].")
@click.option("--rounds", type=click.IntRange(1, 50), help="Of both sides, in turn [3; quick: 2].")
@click.option("--threads", type=click.IntRange(1, 64), help="Cores of either side [1].")
@click.option(
    "--only",
    type=click.Choice(["sides", "http"]),
    help="Only tenants beside processes, or only what HTTP adds [both].",
)
@quick_option("A tiny base, few tenants: under a minute.")
@JSON
def command(quick: bool, only: str | None, as_json: bool, **given: Any) -> None:
    """Measure adapters trained over one base beside separate processes of plain torch, on the same cores.

    Steps and tokens per second, processor time and memory; what it costs that a tenant's bits hang on nobody's company; and
    what a door's HTTP adds to the same turns, with 1 and 8 tenants and 32 tokens. Weights and tokens are random. As many
    separate processes as fit into memory run at once, the others after them. Ctrl-C shows what was measured.

    \b
    Examples:
      archipel bench door --quick
      archipel bench door --model 100m --tenants 1 --tenants 32 --length 32 --json
    """
    from dataclasses import replace

    from archipel.bench.door import QUICK, Plan, measure
    from archipel.bench.door_report import table
    from archipel.bench.door_side import SideFailed
    from archipel.bench.endings import in_order
    from archipel.cli.benches import chosen
    from archipel.cli.doors import child_environment, mending, show, thread_environment

    plan = QUICK if quick else Plan()
    names = ("model", "rank", "tenants", "lengths", "sequences", "rounds", "threads")
    plan = replace(plan, **chosen(plan, given, *names))
    if only == "sides":
        plan = replace(plan, http=replace(plan.http, tenants=()))
    if only == "http":
        plan = replace(plan, tenants=())
    environment = child_environment() | thread_environment(plan.threads)
    found: dict[str, Any] = {}
    try:
        with in_order(), mending(SideFailed, OSError):
            measure(plan, environment, teller(), found)
    finally:
        if found:  # Ctrl-C keeps what there is
            show(found, as_json, lambda: table(found))
