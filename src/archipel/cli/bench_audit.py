"""`archipel bench audit`: what audits cost beside generation, and how long a verdict takes."""

from pathlib import Path
from typing import Any

import click

from archipel.cli.benches import JSON, RECIPE, chosen, out_folder, out_option, quick_option, teller


@click.command("audit")
@click.option(
    "--model", "models", type=click.Choice(["demo", "30m", "100m"]), multiple=True,
    help="Only this random model; repeatable.",
)  # fmt: skip
@click.option(
    "--length",
    "lengths",
    type=click.IntRange(1, 4096),
    multiple=True,
    help="Tokens of each completion [32, 128, 512, 1024]; repeatable.",
)
@click.option("--groups", type=click.IntRange(1, 64), help="Of one lease, 8 rollouts each [4].")
@click.option("--rounds", type=click.IntRange(1, 100), help="Of each length [3; quick: 2].")
@click.option("--versions", type=click.IntRange(1, 1000), help="Of the timed run [8; quick: 4].")
@click.option("--no-lab", is_flag=True, help="Only the ratios: no lab, no verdicts.")
@RECIPE
@quick_option("The demo's model, two lengths, a shorter run.")
@out_option("audit")
@JSON
def command(
    recipe_name: str, no_lab: bool, quick: bool, out: Path | None, as_json: bool, **given: Any
) -> None:
    """Measure audits: time to recompute over time to sample, by length, and seconds from answer to verdict.

    One result is recomputed as a node would recompute it, after it was sampled by the same engine; then a lab,
    an update process and three nodes run here, and the ledger says when each verdict came.

    \b
    Examples:
      archipel bench audit --quick
      archipel bench audit --model 30m --length 1024 --no-lab --json
    """
    from dataclasses import replace

    from archipel.bench.audit import QUICK, Plan, latencies, ratios, result, table
    from archipel.bench.endings import in_order
    from archipel.bench.site import SiteFailed
    from archipel.cli.doors import mending, show
    from archipel.cli.recipes import find_recipe

    plan = QUICK if quick else Plan()
    plan = replace(plan, **chosen(plan, given, "models", "lengths", "groups", "rounds", "versions"))
    tell, rows, verdicts = teller(), list[dict[str, Any]](), list[dict[str, Any]]()
    recipe = find_recipe(recipe_name)
    with mending(SiteFailed, OSError, ValueError), in_order():
        try:
            for name in plan.models:
                rows += ratios(name, plan, recipe.audit.part, tell)
            if not no_lab:
                verdicts = latencies(recipe, out_folder(out, "audit"), plan, tell)
        finally:
            found = result(rows, verdicts, recipe.audit)
            show(found, as_json, lambda: table(found))
