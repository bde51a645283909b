"""`archipel bench pool`: several devices as one, beside one process."""

from typing import Any

import click

from archipel.cli.benches import JSON, quick_option, teller


@click.command("pool")
@click.option(
    "--model",
    type=click.Choice(["demo", "30m", "135m"]),
    help="Shape of the model [135m; quick: demo].",
)
@click.option("--tokens", type=click.IntRange(8, 1024), help="Of each stream [48; quick: 24].")
@click.option("--rounds", type=click.IntRange(1, 50), help="Of everything, in turn [5; quick: 2].")
@click.option(
    "--kills", type=click.IntRange(0, 50), help="Devices killed in mid-stream [4; quick: 2]."
)
@quick_option("A tiny model, two rounds, two kills: some three minutes.")
@JSON
def command(quick: bool, as_json: bool, **given: Any) -> None:
    """Measure a pool of device processes on this machine: speed, bytes per token and hop, seconds to make good a loss.

    One process against pools of one, two and four devices in a line, and of two lines of two, over links of 0, 1, 5 and
    20 ms; each device is a process of its own, paired and encrypted as between machines.

    \b
    Examples:
      archipel bench pool --quick
      archipel bench pool --model 30m --rounds 9 --json
    """
    from dataclasses import replace

    import torch

    from archipel.bench.pool import QUICK, Plan, measure
    from archipel.bench.pool_report import table
    from archipel.bench.pool_site import PoolFailed
    from archipel.cli.benches import chosen
    from archipel.cli.doors import child_environment, mending, show

    torch.set_num_threads(1)
    plan = QUICK if quick else Plan()
    plan = replace(plan, **chosen(plan, given, "model", "tokens", "rounds", "kills"))
    found: dict[str, Any] = {}
    try:
        with mending(PoolFailed, OSError):
            measure(plan, child_environment(), teller(), found)
    finally:
        if found:  # Ctrl-C keeps what there is
            show(found, as_json, lambda: table(found))
