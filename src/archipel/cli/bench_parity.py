"""`archipel bench parity`: distributed against centralised, from equal samples."""

from dataclasses import replace
from pathlib import Path

import click

from archipel.cli.outputs import PICTURE


@click.command("parity")
@click.option(
    "--recipe",
    "recipe_name",
    metavar="RECIPE",
    help="Keeps its own loss and learning rate [secret-order as published: trust_region, 5e-4].",
)
@click.option("--loss", type=click.Choice(["trust_region", "ppo_clip", "tis", "cispo"]))
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True))
@click.option("--seeds", type=click.IntRange(1, 11), help="Seeds [default: 5; quick: 2].")
@click.option("--versions", type=click.IntRange(4, 100_000), help="Updates per arm.")
@click.option("--staleness", type=click.IntRange(0, 64), multiple=True, help="Only these bounds.")
@click.option(
    "--quick", is_flag=True, help="Two seeds, S = 0 and 2, 40 versions: about three minutes."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder [runs/parity-TIME].")
@click.option("--png", type=PICTURE, help="Draw the curves here.")
@click.option("--json", "as_json", is_flag=True, help="For machines: every arm.")
def command(
    recipe_name: str | None,
    loss: str | None,
    learning_rate: float | None,
    seeds: int | None,
    versions: int | None,
    staleness: tuple[int, ...],
    quick: bool,
    out: Path | None,
    png: Path | None,
    as_json: bool,
) -> None:
    """Train one recipe centrally and over four unequal, unreliable node processes, and compare.

    \b
    Examples:
      archipel bench parity --quick
      archipel bench parity --png parity.png
      archipel bench parity --staleness 0 --seeds 1 --json
    """
    import time

    from archipel.bench.parity import (
        PUBLISHED,
        QUICK,
        Arm,
        draw,
        measure,
        replaced,
        save,
        table,
        to_json,
    )
    from archipel.bench.site import SiteFailed
    from archipel.cli.doors import child_environment, mending, show
    from archipel.cli.recipes import find_recipe

    recipe = find_recipe(recipe_name or "secret-order")
    plan = QUICK if quick else PUBLISHED
    plan = replace(
        plan,
        seeds=tuple(range(seeds)) if seeds else plan.seeds,
        versions=versions or plan.versions,
        staleness=staleness or plan.staleness,
        loss=loss or (None if recipe_name else plan.loss),
        learning_rate=learning_rate or (None if recipe_name else plan.learning_rate),
    )
    for line in replaced(recipe, plan):
        click.echo(line, err=True)
    folder = out or Path("runs") / time.strftime("parity-%Y%m%d-%H%M%S")
    began = time.monotonic()

    def on_arm(arm: Arm) -> None:
        click.echo(
            f"{time.monotonic() - began:6.0f}s  seed {arm.seed}  {arm.arm:<8} reward {arm.reward:.4f}  "
            f"greedy {arm.greedy:.4f}  {arm.digest[7:19]}",
            err=True,
        )

    with mending(SiteFailed, OSError):
        arms = measure(recipe, plan, folder, child_environment(), on_arm)
    save(arms, folder / "parity.json")
    if png is not None:
        draw(arms, png)
    show(to_json(arms), as_json, lambda: table(arms))
