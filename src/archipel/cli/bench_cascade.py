"""`archipel bench cascade`: what it is worth to ask a small model first."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from archipel.cli.benches import JSON, PNG, out_folder, out_option, quick_option, teller


@click.command("cascade")
@click.option(
    "--recipe",
    "recipe_name",
    default="own-task",
    show_default=True,
    help="Whose supervised stage trains both models; its model and environment are replaced.",
)
@click.option("--seed", type=click.IntRange(0, 1_000_000), help="Of questions and weights [0].")
@click.option("--questions", type=click.IntRange(50, 100_000), help="Held out [1000; quick: 100].")
@quick_option("Smaller models that learn less, fewer questions: to see it work.")
@out_option("cascade")
@PNG
@JSON
def command(
    recipe_name: str,
    seed: int | None,
    questions: int | None,
    quick: bool,
    out: Path | None,
    png: Path | None,
    as_json: bool,
) -> None:
    """Train a small and a large model, and measure what choosing between them costs and keeps.

    Four kinds of questions, some of which the small model learns. A gate and a confidence are fitted on one part,
    measured on another that nobody saw: quality over the share of questions to the large model (APGR, CPT), seconds as
    they were measured, beside each model alone, chance, an oracle and simpler scores, with bootstrap intervals. About
    eight minutes; whatever stops it, the same command with the same --out goes on.

    \b
    Examples:
      archipel bench cascade --quick
      archipel bench cascade --png cascade.png
      archipel bench cascade --seed 1 --out runs/cascade-1 --json
    """
    from archipel.bench.cascade import QUICK, Measurement, Plan
    from archipel.bench.cascade_report import draw, table, to_json
    from archipel.bench.endings import in_order
    from archipel.cli.doors import mending, show
    from archipel.cli.recipes import find_recipe
    from archipel.serve.cascade.fitting import TooLittle
    from archipel.serve.cascade.measuring import BadJournal

    plan = QUICK if quick else Plan()
    given: dict[str, Any] = {"seed": seed, "held_out": questions}
    plan = replace(plan, **{name: value for name, value in given.items() if value is not None})
    folder, tell = out_folder(out, "cascade"), teller()
    with mending(TooLittle, BadJournal, OSError, ValueError), in_order():
        try:
            found = Measurement(find_recipe(recipe_name), plan, folder, tell).measure()
        except (KeyboardInterrupt, SystemExit):
            tell(f"stopped; the same command with --out {folder} goes on")
            raise
        if png is not None:
            draw(found, png)
        show(to_json(found), as_json, lambda: table(found))
