"""`archipel bench parity`: distributed against centralised, from equal samples."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from archipel.cli.names import recipe_names
from archipel.cli.variants import exact_option

if TYPE_CHECKING:
    from archipel.bench.parity import ParityPlan


@click.command("parity")
@click.option(
    "--recipe",
    "recipe_name",
    metavar="RECIPE",
    shell_complete=recipe_names,
    help="Keeps its own loss and learning rate [secret-order as published: trust_region, 5e-4].",
)
@click.option(
    "--loss", type=click.Choice(["trust_region", "ppo_clip", "tis", "cispo"]), help="Another loss."
)
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Another one.")
@seeds_option("default: 5; quick: 2")
@click.option("--versions", type=click.IntRange(4, 100_000), help="Updates per arm.")
@click.option("--staleness", type=click.IntRange(0, 64), multiple=True, help="Only these bounds.")
@quick_option("Two seeds, S = 0 and 2, 40 versions: about three minutes.")
@exact_option("Sample, centrally and on the nodes,", "w7a8")
@out_option("parity")
@PNG
@JSON
def command(
    recipe_name: str | None,
    variant: str | None,
    out: Path | None,
    png: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Train one recipe centrally and over four unequal, unreliable node processes, and compare.

    \b
    Examples:
      archipel bench parity --quick
      archipel bench parity --png parity.png
      archipel bench parity --staleness 0 --seeds 1 --json
      archipel bench parity --quick --exact

    Whatever stops a measurement, it prints what it has, and the same command with the same --out goes on after the
    last arm that ended.
    """
    from archipel.bench.parity import Arm, measure, replaced
    from archipel.bench.parity_report import draw, save, table, to_json
    from archipel.bench.site import SiteFailed
    from archipel.cli.doors import child_environment, mending, show
    from archipel.cli.recipes import find_recipe, with_exact

    recipe = with_exact(find_recipe(recipe_name or "secret-order"), variant)
    plan = _plan(recipe_name, given)
    for line in replaced(recipe, plan):
        click.echo(line, err=True)
    folder, tell = out_folder(out, "parity"), teller()

    arms: list[Arm] = []

    def on_arm(arm: Arm) -> None:
        arms.append(arm)
        scores = f"reward {arm.reward:.4f}  greedy {arm.greedy:.4f}"
        tell(f"seed {arm.seed}  {arm.arm:<8} {scores}  {arm.digest[7:19]}")

    def finish() -> None:
        if arms:
            save(arms, folder / "parity.json")
        if arms and png is not None:
            draw(arms, png)
        show(to_json(arms), as_json, lambda: table(arms))

    with mending(SiteFailed, OSError, ValueError), whatever_ends(folder, tell, finish):
        measure(recipe, plan, folder, child_environment(), on_arm)


def _plan(recipe_name: str | None, given: dict[str, Any]) -> "ParityPlan":
    """What was asked for; a recipe of one's own keeps its loss and learning rate."""
    from archipel.bench.parity import PUBLISHED, QUICK

    plan = QUICK if given["quick"] else PUBLISHED
    if recipe_name is not None:
        plan = replace(plan, loss=None, learning_rate=None)
    names = ("versions", "staleness", "loss", "learning_rate")
    return replace(plan, **chosen(plan, given, *names))
