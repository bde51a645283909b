"""`archipel bench adversaries`: how soon cheats are found, and how often honest nodes are accused."""

from pathlib import Path
from typing import Any

import click

from archipel.cli.benches import (
    JSON,
    RECIPE,
    chosen,
    out_folder,
    out_option,
    quick_option,
    seeds_option,
    teller,
    whatever_ends,
)


@click.command("adversaries")
@click.option(
    "--part", "parts", type=click.Choice(["honest", "cheats", "learning"]), multiple=True,
    help="Only this part; repeatable.",
)  # fmt: skip
@click.option(
    "--variant", "variants", type=click.Choice(["w7a8", "w12a13", "w13a15"]), multiple=True,
    help="Only this variant of the exact contract; repeatable.",
)  # fmt: skip
@click.option("--answers", type=click.IntRange(1), help="Of each cheat [64; quick: 8].")
@click.option("--audits", type=click.IntRange(1), help="Of honest answers [10,000; quick: 400].")
@click.option(
    "--trials", type=click.IntRange(1, 100_000), help="Simulated nodes per mean [200; quick: 40]."
)
@seeds_option("3; quick: 1")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31),
    help="Of policy and draws [0]; --seeds are of the runs that are poisoned.",
)
@RECIPE
@quick_option("Fewer of everything, one variant.")
@out_option("adversaries")
@JSON
def command(recipe_name: str, quick: bool, out: Path | None, as_json: bool, **given: Any) -> None:
    """Measure cheats in exact mode: the chance that an audit finds each, units of work until the first hard
    verdict by the lab's own rules, and honest answers accused.

    A policy is trained here; real answers of every cheat and of honest nodes are recomputed as an auditor would, the
    honest ones by other processes that may use other instructions and threads. What a run learns when a third of its
    nodes poison it is shown with audits and without. How long a cheat goes on is simulated, draw by draw, for a newcomer and for a node that is known well.

    \b
    Examples:
      archipel bench adversaries --quick
      archipel bench adversaries --out runs/adversaries --json

    Every step is kept as it ends: the same command with the same --out goes on.
    """
    from dataclasses import replace

    from archipel.bench.adversaries import QUICK, Place, Plan, measure, result, table
    from archipel.bench.exact_job import JobFailed
    from archipel.cli.doors import child_environment, mending, show
    from archipel.cli.recipes import find_recipe

    plan = QUICK if quick else Plan()
    names = ("parts", "variants", "answers", "audits", "trials", "seed")
    plan = replace(plan, **chosen(plan, given, *names))
    folder, tell = out_folder(out, "adversaries"), teller()
    place = Place(folder, find_recipe(recipe_name), child_environment(), tell)

    def finish() -> None:
        found = result(plan, place)
        show(found, as_json, lambda: table(found))

    with mending(JobFailed, OSError, ValueError), whatever_ends(folder, tell, finish):
        measure(plan, place)
