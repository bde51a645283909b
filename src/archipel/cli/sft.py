"""`archipel sft`: a model from nothing, by supervised learning."""

import time
from pathlib import Path

import click


@click.command()
@click.argument("recipe_name", metavar="RECIPE")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Model directory to write."
)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 1024))
@click.option("--seed", type=int, help="Use another run seed than the recipe's.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(recipe_name: str, out: Path, threads: int, seed: int | None, as_json: bool) -> None:
    """Train RECIPE's model from random weights on its supervised data.

    Progress is saved beside OUT; after Ctrl-C the same command continues.

    \b
    Examples:
      archipel sft secret-order --out start
      archipel sft my.toml --out start --threads 2
    """
    from archipel.cli.doors import mending, show
    from archipel.cli.recipes import find_recipe, with_seed

    recipe = with_seed(find_recipe(recipe_name), seed)
    import torch

    from archipel.training.environments.task import InvalidEnvironment
    from archipel.training.sft import Progress
    from archipel.training.start import NoSupervisedStage, start_model

    torch.set_num_threads(threads)
    began, shown = time.monotonic(), [0.0]

    def on_step(progress: Progress) -> None:
        if not as_json and time.monotonic() - shown[0] > 1.0:
            shown[0] = time.monotonic()
            smoothed = progress.smoothed_loss or progress.loss
            phase = "learning" if progress.decay_from is None else "settling"
            click.echo(
                f"\r\033[Kstep {progress.step} loss {smoothed:.4f} ({phase}, "
                f"{time.monotonic() - began:.0f} s)",
                nl=False,
                err=True,
            )

    checkpoints = out.with_name(out.name + ".partial")
    with mending(InvalidEnvironment, NoSupervisedStage, OSError, ValueError):
        progress = start_model(recipe, out, on_step, checkpoints)
    import shutil

    shutil.rmtree(checkpoints, ignore_errors=True)
    seconds = time.monotonic() - began
    result = {
        "model": str(out),
        "steps": progress.step,
        "loss": progress.smoothed_loss,
        "seconds": seconds,
    }
    show(result, as_json, lambda: f"\n{out}: {progress.step} steps in {seconds:.1f} s")
