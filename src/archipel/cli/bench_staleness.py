"""`archipel bench staleness`: how old a rollout may be, by loss."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from archipel.cli.benches import (
    JSON,
    PNG,
    RECIPE,
    chosen,
    out_folder,
    out_option,
    quick_option,
    seeds_option,
    teller,
    whatever_ends,
)

LOSS_NAMES = ("trust_region", "ppo_clip", "tis", "cispo", "uncorrected")


@click.command("staleness")
@RECIPE
@click.option("--loss", "losses", type=click.Choice(LOSS_NAMES), multiple=True, help="Only this.")
@click.option("--age", "ages", type=click.IntRange(0, 64), multiple=True, help="Only these ages.")
@seeds_option("default: 3; quick: 2")
@click.option("--versions", type=click.IntRange(4, 100_000), help="Updates per arm.")
@quick_option("Ages 0, 4 and 16, fewer updates: a few minutes.")
@out_option("staleness")
@PNG
@JSON
def command(
    recipe_name: str, out: Path | None, png: Path | None, as_json: bool, **given: Any
) -> None:
    """Train on rollouts that are 0 to 16 versions old, with every loss, and say which survive.

    One process keeps a ring of old policies; four optimiser steps per update make it the hard
    case. The control "uncorrected" takes every importance ratio as 1. Takes about 20 minutes.

    \b
    Examples:
      archipel bench staleness --quick
      archipel bench staleness --png staleness.png
      archipel bench staleness --loss ppo_clip --age 0 --age 8 --seeds 5 --json

    Whatever stops a measurement, it prints what it has, and the same command with the same --out goes on.
    """
    from dataclasses import asdict

    from archipel.bench.staleness import QUICK, Arm, Plan, draw, measure, table
    from archipel.cli.doors import mending, show
    from archipel.cli.recipes import find_recipe

    plan = QUICK if given["quick"] else Plan()
    plan = replace(plan, **chosen(plan, given, "losses", "ages", "versions"))
    # The ratio is to the same loss at age 0, so that age is always there.
    plan = replace(plan, ages=tuple(sorted({0, *plan.ages})))
    click.echo(
        f"whatever the recipe says: learning rate {plan.learning_rate}, {plan.minibatches} optimiser "
        f"steps an update, {plan.versions} versions, each loss in turn",
        err=True,
    )

    folder, tell = out_folder(out, "staleness"), teller()
    rows: list[dict[str, Any]] = []

    def on_arm(arm: Arm) -> None:
        rows.append(asdict(arm))
        scores = f"reward {arm.reward:.3f}  greedy {arm.greedy:.3f}"
        tell(f"seed {arm.seed}  {arm.loss:<12}  age {arm.age:>2}  {scores}")

    def finish() -> None:
        if png is not None and rows:
            draw(rows, png)
        show(rows, as_json, lambda: table(rows))

    with mending(OSError, ValueError), whatever_ends(folder, tell, finish):
        measure(find_recipe(recipe_name), plan, folder, on_arm)
