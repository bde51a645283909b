"""`archipel bench sync`: what a new policy version costs in bytes."""

import click

from archipel.cli.benches import JSON, quick_option


@click.command("sync")
@click.option(
    "--model",
    "models",
    type=click.Choice(["demo", "30m"]),
    multiple=True,
    help="Measure only this model (may be repeated).",
)
@click.option("--seeds", type=click.IntRange(1, 10), help="Seeds per model [default: 5 and 3].")
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Processor threads of the tensor library.",
)
@quick_option("The demo's model and one seed, unless others are named.")
@JSON
def command(
    models: tuple[str, ...], seeds: int | None, threads: int, quick: bool, as_json: bool
) -> None:
    """Measure bytes per policy version against all weights in bf16.

    Trains two language models with AdamW at learning rates 1e-6 to 1e-3, publishes every step as a
    lossless delta, applies it and compares the bytes. Takes a few minutes.

    \b
    Examples:
      archipel bench sync --quick
      archipel bench sync --model demo --seeds 2
      archipel bench sync --json
    """
    from archipel.cli.doors import mending, show

    def on_progress(text: str) -> None:
        if not as_json:
            click.echo(f"\r\033[K{text}", nl=False, err=True)

    import torch

    from archipel.bench.sync import SUBJECTS, RoundTripFailed, measure, table

    torch.set_num_threads(threads)
    with mending(RoundTripFailed):
        rows = measure(
            models or (["demo"] if quick else SUBJECTS),
            num_seeds=seeds or (1 if quick else None),
            on_progress=on_progress,
        )
    on_progress("")
    show(rows, as_json, lambda: table(rows))
