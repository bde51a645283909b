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
@click.option(
    "--models",
    nargs=2,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="SMALL LARGE",
    help="Model directories to measure instead of training two, with --asked.",
)
@click.option(
    "--asked",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Questions for --models, as archipel serve calibrate reads them: half calibrate, half measure.",
)
@click.option(
    "--max-new-tokens",
    default=64,
    show_default=True,
    type=click.IntRange(1, 65536),
    help="Longest answer of --models.",
)
@quick_option("Smaller models that learn less, fewer questions: to see it work.")
@out_option("cascade")
@PNG
@JSON
def command(
    recipe_name: str,
    seed: int | None,
    questions: int | None,
    models: tuple[Path, Path] | None,
    asked: Path | None,
    max_new_tokens: int,
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
      archipel bench cascade --models 135M 0.5B --asked mine.jsonl
    """
    if (models is None) is not (asked is None):
        raise click.UsageError("--models and --asked go together")
    from archipel.bench.cascade import QUICK, Given, Measurement, Plan
    from archipel.bench.cascade_report import draw, table, to_json
    from archipel.bench.endings import in_order
    from archipel.cli.doors import mending, show
    from archipel.cli.recipes import find_recipe
    from archipel.serve.cascade.fitting import TooLittle
    from archipel.serve.cascade.measuring import BadJournal
    from archipel.serve.cascade.probes import read_probes

    plan = QUICK if quick else Plan()
    given: dict[str, Any] = {"seed": seed, "held_out": questions}
    plan = replace(plan, **{name: value for name, value in given.items() if value is not None})
    folder, tell = out_folder(out, "cascade"), teller()
    with mending(TooLittle, BadJournal, OSError, ValueError), in_order():
        try:
            measurement = Measurement(find_recipe(recipe_name), plan, folder, tell)
            if models is None or asked is None:
                found = measurement.measure()
            else:
                probes = tuple(read_probes(asked, "exact"))
                found = measurement.measure_given(Given(*models, probes, max_new_tokens))
        except (KeyboardInterrupt, SystemExit):
            tell(f"stopped; the same command with --out {folder} goes on")
            raise
        if png is not None:
            draw(found, png)
        show(to_json(found), as_json, lambda: table(found))
