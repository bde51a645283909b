"""`archipel bench specialists`: several adapters and a router against one that learned everything."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from archipel.cli.benches import JSON, out_folder, out_option, quick_option, teller


@click.command("specialists")
@click.option(
    "--recipe",
    "recipe_name",
    default="own-task",
    show_default=True,
    help="Whose supervised stage trains all of them; its model and environment are replaced.",
)
@click.option("--seed", type=click.IntRange(0, 1_000_000), help="Of questions and weights [0].")
@click.option("--questions", type=click.IntRange(50, 100_000), help="Held out [1000; quick: 200].")
@quick_option("A smaller base that learns less, fewer questions: to see it work.")
@out_option("specialists")
@JSON
def command(
    recipe_name: str,
    seed: int | None,
    questions: int | None,
    quick: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Train four specialists over one base, and a generalist with as many steps as all of them; route and compare.

    Each question is answered by the base and one adapter either way. The router learned from training questions of each
    specialist; a fifth kind has none and should fall to the base. Intervals are over resampled questions. About eight
    minutes; whatever stops it, the same command with the same --out goes on.

    \b
    Examples:
      archipel bench specialists --quick
      archipel bench specialists --seed 1 --out runs/specialists-1 --json
    """
    from archipel.bench.endings import in_order
    from archipel.bench.specialists import QUICK, Measurement, Plan, table
    from archipel.cli.doors import mending, show
    from archipel.cli.recipes import find_recipe
    from archipel.serve.router.topics import TooFewExamples

    plan = QUICK if quick else Plan()
    given: dict[str, Any] = {"seed": seed, "held_out": questions}
    plan = replace(plan, **{name: value for name, value in given.items() if value is not None})
    folder, tell = out_folder(out, "specialists"), teller()
    with mending(TooFewExamples, OSError, ValueError), in_order():
        try:
            found = Measurement(find_recipe(recipe_name), plan, folder, tell).measure()
        except (KeyboardInterrupt, SystemExit):
            tell(f"stopped; the same command with --out {folder} goes on")
            raise
        show(asdict(found), as_json, lambda: table(found))
