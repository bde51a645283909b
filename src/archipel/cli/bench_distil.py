"""`archipel bench distil`: what a larger teacher is worth to a student, beside labels."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from archipel.cli.benches import JSON, out_folder, out_option, quick_option, teller


@click.command("distil")
@click.option(
    "--recipe",
    "recipe_name",
    default="own-task",
    show_default=True,
    help="Whose loss and optimisers train all of them; its model and environment are replaced.",
)
@click.option("--seed", type=click.IntRange(0, 1_000_000), help="Of questions and weights [0].")
@click.option("--updates", type=click.IntRange(1, 100_000), help="On policy [300; quick: 60].")
@click.option("--questions", type=click.IntRange(50, 100_000), help="Held out [1000; quick: 200].")
@quick_option("Smaller models that learn less, fewer questions: to see it work.")
@out_option("distil")
@JSON
def command(
    recipe_name: str,
    seed: int | None,
    updates: int | None,
    questions: int | None,
    quick: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Train a teacher and a student, let the student go on in four ways for equally long, and compare.

    On policy under the teacher, imitating the teacher, over all labels, over few labels; each for as many processor
    seconds as the first takes. Intervals are over resampled held-out questions. Whatever stops it, the same command with
    the same --out goes on.

    \b
    Examples:
      archipel bench distil --quick --json
      archipel bench distil --seed 1 --out runs/distil-1
    """
    from archipel.bench.distil import QUICK, Measurement, Plan
    from archipel.bench.distil_report import table
    from archipel.bench.endings import in_order
    from archipel.cli.doors import mending, show
    from archipel.cli.recipes import find_recipe

    plan = QUICK if quick else Plan()
    given: dict[str, Any] = {"seed": seed, "updates": updates, "held_out": questions}
    plan = replace(plan, **{name: value for name, value in given.items() if value is not None})
    folder, tell = out_folder(out, "distil"), teller()
    with mending(OSError, ValueError), in_order():
        try:
            found = Measurement(find_recipe(recipe_name), plan, folder, tell).measure()
        except (KeyboardInterrupt, SystemExit):
            tell(f"stopped; the same command with --out {folder} goes on")
            raise
        show(asdict(found), as_json, lambda: table(found))
