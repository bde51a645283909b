"""`archipel bench mesh`: how soon a version reaches the last node, and what the lab sends for it."""

from typing import Any

import click

from archipel.cli.benches import JSON, quick_option, teller

ARM_NAMES = ("star", "mirrors", "tree", "liars")


@click.command("mesh")
@click.option(
    "--arm", "arms", type=click.Choice(ARM_NAMES), multiple=True, help="Only this arm; repeatable."
)
@click.option(
    "--nodes", type=click.IntRange(1, 64), multiple=True, help="So many [4, 8, 16; quick: 4]."
)
@click.option("--blob-mb", type=click.FloatRange(1.1, 1024), help="Of a version [4; quick: 2].")
@click.option(
    "--uplink-mbit",
    type=click.FloatRange(0.1, 10_000),
    help="Of the lab, and of nodes that serve [16].",
)
@click.option("--versions", type=click.IntRange(1, 11), help="Trials of each [3; quick: 2].")
@click.option("--seed", type=click.IntRange(0, 2**31), help="Of the versions' bytes [0].")
@quick_option("Four nodes, two versions of 2 MB each: about a minute.")
@JSON
def command(
    arms: tuple[str, ...], nodes: tuple[int, ...], quick: bool, as_json: bool, **given: Any
) -> None:
    """Publish versions to real nodes over shaped lines: from the lab alone, by mirrors, down a tree.

    One process per node on 127.0.0.1; lab and nodes send no more than their limits say. In the arm `mirrors` an
    eighth of the nodes serve, with four times the lab's uplink; in `liars` a fifth of all send other bytes.

    \b
    Examples:
      archipel bench mesh --quick
      archipel bench mesh --arm star --arm tree --nodes 16 --json
    """
    from dataclasses import replace

    from archipel.bench.mesh import QUICK, Plan, measure, table, to_json
    from archipel.bench.site import SiteFailed
    from archipel.cli.benches import chosen
    from archipel.cli.doors import child_environment, mending, show

    plan = QUICK if quick else Plan()
    given["nodes"] = nodes
    names = ("nodes", "blob_mb", "uplink_mbit", "versions", "seed")
    plan = replace(plan, **chosen(plan, given, *names))
    found = []
    try:
        with mending(SiteFailed, OSError):
            for each in measure(plan, arms, child_environment(), teller()):
                found.append(each)  # Ctrl-C keeps these
    finally:
        if found:
            show(to_json(found), as_json, lambda: table(found))
