"""`archipel bench families`: what rewards make of tasks that people bring, beside more labels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from archipel.cli.benches import (
    JSON,
    chosen,
    out_folder,
    out_option,
    quick_option,
    seeds_option,
    teller,
    whatever_ends,
)
from archipel.cli.names import recipe_names

NAMES = ("sums", "larger", "sorted", "change", "bits", "letters", "divisors", "backward")
ARMS = ("supervised", "rewards, earlier recipe", "rewards", "more labels")


@click.command("families")
@click.option(
    "--family",
    "families",
    multiple=True,
    type=click.Choice(NAMES),
    help="May be given several times [all; quick: larger, sorted].",
)
@click.option("--arm", "arms", multiple=True, type=click.Choice(ARMS), help="Only these [all].")
@seeds_option("default: 2; quick: 1")
@click.option(
    "--supervised-steps",
    type=click.IntRange(1, 100_000),
    help="Before the stage settles [what suits each family; 40].",
)
@click.option("--updates", type=click.IntRange(1, 100_000), help="Of reinforcement [60; 10].")
@click.option(
    "--recipe",
    "recipe_name",
    default="own-task",
    show_default=True,
    shell_complete=recipe_names,
    help="Whose model, stages and bounds are taken; its environment is replaced.",
)
@quick_option("Two families, one seed, short: to see it work.")
@out_option("families")
@JSON
def command(recipe_name: str, out: Path | None, as_json: bool, **given: Any) -> None:
    """Try the documented route on tasks of eight kinds: a supervised stage, rewards, or more labels instead.

    For each: held-out accuracy and pass@k, what the commonest answer alone would earn, how the run went, and which
    of its alarms spoke. More labels have as much processor time as rewards had. Tasks are question files, a
    reward in Python and reasoning-gym's (extra `gym`). Whatever stops a measurement, it prints what it has, and the
    same command with the same --out goes on.

    \b
    Examples:
      archipel bench families --quick
      archipel bench families --family larger --family change --seeds 1
      archipel bench families --out runs/families --json
    """
    from archipel.bench.families import QUICK, Families, Plan, Row
    from archipel.bench.families_report import row_line, table, to_json
    from archipel.bench.kept import NotOurs
    from archipel.cli.doors import mending, show
    from archipel.cli.recipes import find_recipe

    plan = QUICK if given["quick"] else Plan()
    names = ("families", "arms", "supervised_steps", "updates")
    plan = replace(plan, **chosen(plan, given, *names))
    folder, tell = out_folder(out, "families"), teller()
    rows: list[Row] = []

    def on_row(row: Row) -> None:
        rows.append(row)
        tell(row_line(row))

    def finish() -> None:
        show(to_json(rows), as_json, lambda: table(rows))

    with (
        mending(NotOurs, OSError, ValueError, RuntimeError),
        whatever_ends(folder, tell, finish),
    ):
        Families(find_recipe(recipe_name), plan, folder, tell).measure(on_row)
