"""`archipel sft`: a model from nothing or from given weights, by supervised learning."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.engines import device_option
from archipel.cli.names import recipe_names
from archipel.cli.telling import telling
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.training.start import Way


@click.command()
@click.argument("recipe_name", metavar="RECIPE", shell_complete=recipe_names)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Model directory to write."
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Model directory to start from [random weights of the recipe's model].",
)
@click.option(
    "--adapter",
    is_flag=True,
    help="Train the recipe's [adapter] alone, over --weights; OUT becomes an adapter's directory.",
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Processor threads of the tensor library.",
)
@device_option("learns")
@click.option("--seed", type=int, help="Use another run seed than the recipe's.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    recipe_name: str,
    out: Path,
    weights: Path | None,
    adapter: bool,
    threads: int,
    device: str,
    seed: int | None,
    as_json: bool,
) -> None:
    """Train on RECIPE's supervised data: its own model from random weights, or a given one.

    Progress is saved in OUT.partial; after Ctrl-C the same command continues. OUT/made.json says what the
    weights were made from: whoever gets them may make them again.

    \b
    Examples:
      archipel sft secret-order --out start
      archipel sft my.toml --out start --threads 2
      archipel sft my.toml --out tuned --weights Qwen3-0.6B
      archipel sft my-adapter.toml --out taught --weights Qwen3-0.6B --adapter
    """
    from archipel.cli.doors import Mendable, mending, show
    from archipel.cli.recipes import find_recipe, with_seed

    if adapter and weights is None:
        raise click.UsageError("an adapter lies over given weights: name them with --weights")
    recipe = with_seed(find_recipe(recipe_name), seed)
    import torch

    from archipel.training.checkpoint import remove_checkpoints
    from archipel.training.environments.apart import TaskProcessLost
    from archipel.training.optimiser import Diverged
    from archipel.training.sft import Progress
    from archipel.training.start import NoSupervisedStage, start_adapter, start_model

    torch.set_num_threads(threads)
    began = time.monotonic()

    def line(progress: Progress) -> str:
        loss = progress.smoothed_loss or progress.loss
        phase = "learning" if progress.decay_from is None else "settling"
        spent_s = time.monotonic() - began
        return f"step {progress.step} loss {loss:.4f} ({phase}, {spent_s:.0f} s)"

    saved = out.with_name(out.name + ".partial")
    on_step = _silent if as_json else telling(line)
    with mending(TaskProcessLost, NoSupervisedStage, OSError, ValueError, ArithmeticError):
        way = _way(device)  # NoDevice is a ValueError
        try:
            progress = (
                start_adapter(recipe, out, weights, on_step, saved, way)
                if adapter and weights is not None
                else start_model(recipe, out, on_step, saved, weights, way)
            )
        except Diverged as error:
            raise Mendable(
                f"learning diverged: {str(error).partition(';')[0]}; lower supervised.learning_rate in the recipe, remove "
                f"{saved} if it is there, and begin anew"
            ) from None
        remove_checkpoints(saved)
    seconds, loss = time.monotonic() - began, progress.smoothed_loss
    result = {"model": str(out), "steps": progress.step, "loss": loss, "seconds": seconds}
    show(result, as_json, lambda: f"\n{out}: {counted(progress.step, 'step')} in {seconds:.1f} s")


def _way(device: str) -> "Way":
    """Where it learns, and which class of machine that is."""
    from archipel.model.devices import ready_device
    from archipel.serve.origin import machine
    from archipel.training.start import Way

    place = ready_device(device)
    return Way(device=place, machine=machine(str(place)))


def _silent(progress: object) -> None:
    """For machines."""
