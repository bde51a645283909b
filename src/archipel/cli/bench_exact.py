"""`archipel bench exact`: what exact inference costs, and what it gives."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.benches import chosen, out_folder, out_option, teller, whatever_ends

if TYPE_CHECKING:
    from archipel.bench.exact_plan import Plan

PARTS = ("speed", "quality", "exact", "detection", "verify", "learning")


@click.command("exact")
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="Only this part.")
@click.option(
    "--size", "models", type=click.Choice(["demo", "30m", "100m"]), multiple=True,
    help="Only these random models, of speed and verifying.",
)  # fmt: skip
@click.option(
    "--own", "own", type=click.Choice(["chars", "words", "policy"]), multiple=True,
    help="Only these models trained here, of quality and detection.",
)  # fmt: skip
@click.option(
    "--model", "directory", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A model directory, beside those.",
)  # fmt: skip
@click.option("--alone", is_flag=True, help="Only the model directory.")
@click.option(
    "--batch",
    "batch_sizes",
    type=click.IntRange(1, 4096),
    multiple=True,
    help="Sequences at once; more than one may be given.",
)
@click.option(
    "--cap",
    "caps",
    type=click.Choice(["full", "avx2", "sse4.1", "compatible"]),
    multiple=True,
    help="Instructions allowed, of speed; more than one may be given.",
)
@click.option(
    "--kind", "kinds", type=click.Choice(["fp32", "bf16", "w7a8", "w12a13", "w13a15"]), multiple=True,
    help="Only these, beside fp32, of speed and learning.",
)  # fmt: skip
@click.option(
    "--positions", type=click.IntRange(1000), help="To recompute [1,000,000; quick 10,000]."
)
@click.option("--completions", type=click.IntRange(1), help="Of each cheat [64; quick: 16].")
@click.option("--seeds", type=click.IntRange(1, 11), help="Of learning [5; quick: 2].")
@click.option("--rounds", type=click.IntRange(1, 100), help="Of speed [6; quick: 3].")
@click.option("--quick", is_flag=True, help="The smallest model, fewer of everything: two minutes.")
@click.option("--kept", is_flag=True, help="Measure nothing; print what --out has.")
@out_option("exact")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    directory: Path | None, quick: bool, kept: bool, out: Path | None, as_json: bool, **given: Any
) -> None:  # fmt: skip
    """Measure exact inference beside fp32 and bf16: speed, quality, exactness, detection, verifying, learning.

    \b
    Examples:
      archipel bench exact --quick
      archipel bench exact --model smollm2 --part speed --batch 1 --batch 8
      archipel bench exact --part exact --positions 1000000 --json
      archipel bench exact --out runs/exact

    Every step is kept as it ends: whatever stops a measurement, it prints what it has, and the same command
    with the same --out goes on.
    """
    from archipel.bench.exact import Place, measure, result
    from archipel.bench.exact_job import JobFailed
    from archipel.bench.exact_report import table
    from archipel.cli.doors import child_environment, mending, show
    from archipel.cli.recipes import find_recipe

    plan = _plan(directory, quick, given)
    folder, tell = out_folder(out, "exact"), teller()
    place = Place(folder, child_environment(), find_recipe("secret-order"), tell)

    def finish() -> None:
        found = result(plan, place)
        show(found, as_json, lambda: table(found))

    with mending(JobFailed, OSError, ValueError), whatever_ends(folder, tell, finish):
        if not kept:
            measure(plan, place)


def _plan(directory: Path | None, quick: bool, given: dict[str, Any]) -> "Plan":
    """What was asked for."""
    from archipel.bench.exact_plan import QUICK, Plan

    if given["alone"] and directory is None:
        raise click.UsageError("--alone needs a model directory; give it with --model")
    plan = QUICK if quick else Plan()
    names = (
        "parts",
        "models",
        "own",
        "batch_sizes",
        "caps",
        "positions",
        "completions",
        "rounds",
        "kinds",
    )
    plan = replace(plan, **chosen(plan, given, *names))
    if given["alone"]:
        plan = replace(plan, models=(), own=())
    return replace(plan, directories=(str(directory.resolve()),)) if directory else plan
