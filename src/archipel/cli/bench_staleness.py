"""`archipel bench staleness`: how old a rollout may be, by loss."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from archipel.cli.outputs import PICTURE

LOSS_NAMES = ("trust_region", "ppo_clip", "tis", "cispo", "uncorrected")


@click.command("staleness")
@click.option("--recipe", "recipe_name", default="secret-order", show_default=True)
@click.option("--loss", "losses", type=click.Choice(LOSS_NAMES), multiple=True, help="Only this.")
@click.option("--age", "ages", type=click.IntRange(0, 64), multiple=True, help="Only these ages.")
@click.option("--seeds", type=click.IntRange(1, 11), help="Seeds [default: 3; quick: 2].")
@click.option("--versions", type=click.IntRange(4, 100_000), help="Updates per arm.")
@click.option("--quick", is_flag=True, help="Ages 0, 4 and 16, fewer updates: a few minutes.")
@click.option("--png", type=PICTURE, help="Draw the curves here.")
@click.option("--json", "as_json", is_flag=True, help="For machines: every arm.")
def command(
    recipe_name: str,
    losses: tuple[str, ...],
    ages: tuple[int, ...],
    quick: bool,
    png: Path | None,
    as_json: bool,
    **changes: Any,
) -> None:
    """Train on rollouts that are 0 to 16 versions old, with every loss, and say which survive.

    One process keeps a ring of old policies; four optimiser steps per update make it the hard
    case. The control "uncorrected" takes every importance ratio as 1. Takes about 20 minutes.

    \b
    Examples:
      archipel bench staleness --quick
      archipel bench staleness --png staleness.png
      archipel bench staleness --loss ppo_clip --age 0 --age 8 --seeds 5 --json
    """
    from archipel.bench.staleness import QUICK, Arm, Plan, draw, measure, table
    from archipel.cli.doors import show
    from archipel.cli.recipes import find_recipe

    plan = QUICK if quick else Plan()
    seeds, versions = changes["seeds"], changes["versions"]
    plan = replace(
        plan,
        losses=losses or plan.losses,
        # The ratio is to the same loss at age 0, so that age is always there.
        ages=tuple(sorted({0, *ages})) if ages else plan.ages,
        seeds=tuple(range(seeds)) if seeds else plan.seeds,
        versions=versions or plan.versions,
    )

    click.echo(
        f"whatever the recipe says: learning rate {plan.learning_rate}, {plan.minibatches} optimiser "
        f"steps an update, {plan.versions} versions, each loss in turn",
        err=True,
    )

    def on_arm(arm: Arm) -> None:
        click.echo(
            f"seed {arm.seed}  {arm.loss:<12}  age {arm.age:>2}  reward {arm.reward:.3f}  "
            f"greedy {arm.greedy:.3f}",
            err=True,
        )

    rows = measure(find_recipe(recipe_name), plan, on_arm)
    if png is not None:
        draw(rows, png)
    show(rows, as_json, lambda: table(rows))
