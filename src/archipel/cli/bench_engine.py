"""`archipel bench engine`: tokens per second beside `transformers.generate`."""

from pathlib import Path

import click


@click.command("engine")
@click.option(
    "--model",
    "models",
    type=click.Choice(["demo", "30m", "100m"]),
    multiple=True,
    help="Measure only this model (may be repeated).",
)
@click.option(
    "--held",
    metavar="DIRECTORY",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Instead: this model's weights in 32, 16, 8 and 4 bits, and tokens guessed in each.",
)
@click.option("--quick", is_flag=True, help="Two rounds, no batch of 128: about a minute.")
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Processor threads of the tensor library.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    models: tuple[str, ...], held: Path | None, quick: bool, threads: int, as_json: bool
) -> None:
    """Measure our engine and transformers.generate side by side.

    Same weights, prompts, threads and lengths, taking turns; each side by its better dtype; beside
    them the limit that memory bandwidth and products set on this machine. Needs the extra
    `transformers`. Takes a few minutes. With --held: divergence from fp32 and time of a step in each form of a model's
    weights, and what guessed tokens save there.

    \b
    Examples:
      archipel bench engine
      archipel bench engine --quick --model demo
      archipel bench engine --threads 2 --json
      archipel bench engine --held smollm2
    """
    import dataclasses

    from archipel.cli.doors import mending, show

    def on_progress(text: str) -> None:
        if not as_json:
            click.echo(f"\r\033[K{text}", nl=False, err=True)

    import torch

    from archipel.bench.engine import QUICK, Plan, measure, table

    torch.set_num_threads(threads)
    if held is not None:
        from archipel.bench import held as forms

        with mending(OSError, ValueError, RuntimeError):
            found = forms.measure(held, forms.QUICK if quick else forms.Plan(), on_progress)
        on_progress("")
        show(found, as_json, lambda: forms.table(found))
        return
    plan = QUICK if quick else Plan()
    if models:
        plan = dataclasses.replace(plan, models=models)
    with mending(ImportError):
        result = measure(plan, on_progress)
    on_progress("")
    show(result, as_json, lambda: table(result))
