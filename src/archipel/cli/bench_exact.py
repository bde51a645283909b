"""`archipel bench exact`: what exact inference costs, and what it gives."""

from dataclasses import replace
from pathlib import Path

import click

PARTS = ("speed", "quality", "exact", "detection", "verify", "learning")


@click.command("exact")
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="Only this part.")
@click.option(
    "--size", "sizes", type=click.Choice(["demo", "30m", "100m"]), multiple=True,
    help="Only these random models.",
)  # fmt: skip
@click.option(
    "--model", "directory", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A model directory, beside the random models.",
)  # fmt: skip
@click.option("--alone", is_flag=True, help="Only the model directory, no random ones.")
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
    type=click.Choice(["full", "avx2", "sse4.1"]),
    multiple=True,
    help="Instructions allowed; more than one may be given.",
)
@click.option(
    "--positions", type=click.IntRange(1000), help="To recompute [1,000,000; quick 20,000]."
)
@click.option("--seeds", type=click.IntRange(1, 11), help="Of learning [5; quick: 2].")
@click.option("--rounds", type=click.IntRange(1, 100), help="Of speed [6; quick: 3].")
@click.option("--quick", is_flag=True, help="The smallest model, fewer of everything: two minutes.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder [runs/exact-TIME].")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    parts: tuple[str, ...],
    sizes: tuple[str, ...],
    directory: Path | None,
    alone: bool,
    batch_sizes: tuple[int, ...],
    caps: tuple[str, ...],
    positions: int | None,
    seeds: int | None,
    rounds: int | None,
    quick: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure exact inference beside fp32 and bf16: speed, quality, exactness, detection, verifying, learning.

    \b
    Examples:
      archipel bench exact --quick
      archipel bench exact --model smollm2 --part speed --batch 1 --batch 8
      archipel bench exact --part exact --positions 1000000 --json
    """
    import time

    from archipel.bench.exact import QUICK, Place, Plan, measure
    from archipel.bench.exact_job import JobFailed
    from archipel.bench.exact_report import table
    from archipel.cli.doors import child_environment, mending, show
    from archipel.cli.recipes import find_recipe

    if alone and directory is None:
        raise click.UsageError("--alone needs a model directory; give it with --model")
    plan = QUICK if quick else Plan()
    models = () if alone else sizes or plan.models
    plan = replace(
        plan,
        models=(*models, *([str(directory.resolve())] if directory else [])),
        batch_sizes=batch_sizes or plan.batch_sizes,
        caps=caps or plan.caps,
        positions=positions or plan.positions,
        seeds=tuple(range(seeds)) if seeds else plan.seeds,
        rounds=rounds or plan.rounds,
        parts=parts or plan.parts,
    )
    folder = out or Path("runs") / time.strftime("exact-%Y%m%d-%H%M%S")
    began = time.monotonic()

    def tell(text: str) -> None:
        click.echo(f"{time.monotonic() - began:6.0f}s  {text}", err=True)

    with mending(JobFailed, OSError, ValueError):
        place = Place(folder, child_environment())
        result = measure(plan, find_recipe("secret-order"), place, tell)
    show(result, as_json, lambda: table(result))
