"""`archipel distil`: a small model taught by a larger one of the same tokenizer."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.engines import device_option
from archipel.cli.names import recipe_names
from archipel.cli.telling import seldom
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.training.distil import Stand


@click.command()
@click.argument("student", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--teacher",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Model directory of the larger one; it is read and never written.",
)
@click.option(
    "--recipe",
    "recipe_name",
    required=True,
    shell_complete=recipe_names,
    help="Whose training tasks are answered, with its [sampling], and [optimiser] or [supervised]; no answer or reward of "
    "it is used.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Model directory to write."
)
@click.option(
    "--way",
    type=click.Choice(["on-policy", "sequences"]),
    default="sequences",
    show_default=True,
    help="The teacher writes and the student imitates, or the student writes and the teacher says what it had written.",
)
@click.option(
    "--steps",
    type=click.IntRange(1, 1_000_000),
    help="Optimiser steps [run.versions; of sequences supervised.steps + decay_steps].",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, 1, min_open=True),
    help="Peak rate [optimiser.learning_rate; of sequences supervised.learning_rate].",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, 10),
    help="Of whoever writes; 0, of a teacher alone: the likeliest token [0; on policy sampling.temperature].",
)
@click.option(
    "--hears",
    type=click.Choice(["all", "samples"]),
    default="all",
    show_default=True,
    help="On policy: the teacher says at each place of all tokens how likely they are, or of the sampled one alone.",
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Processor threads of the tensor library.",
)
@device_option("computes")
@click.option("--seed", type=int, help="Use another run seed than the recipe's.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def command(
    student: Path,
    teacher: Path,
    recipe_name: str,
    out: Path,
    threads: int,
    device: str,
    seed: int | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Make the model in STUDENT better by one that knows more: no labels, no rewards, a recipe's questions alone.

    Both need the same tokenizer. Progress is saved in OUT.partial; after Ctrl-C the same command continues, and ends with
    the weights that it would have ended with.

    \b
    Examples:
      archipel distil small --teacher large --recipe my.toml --out better
      archipel distil 0.5B --teacher 7B --recipe gsm8k --steps 100 --learning-rate 1e-5 --out better
      archipel distil small --teacher large --recipe my.toml --way on-policy --out better
    """
    from archipel.cli.doors import Mendable, mending, show
    from archipel.cli.recipes import find_recipe, with_seed

    recipe = with_seed(find_recipe(recipe_name), seed)
    import torch

    from archipel.training.environments.apart import TaskProcessLost
    from archipel.training.lessons import Given
    from archipel.training.optimiser import Diverged
    from archipel.work.distilling import Places, distil
    from archipel.work.kind import WorkFailed

    torch.set_num_threads(threads)
    saved, telling = out.with_name(out.name + ".partial"), _Telling(as_json)
    with mending(TaskProcessLost, WorkFailed, OSError, ValueError, ArithmeticError):
        try:
            places = Places(student, teacher, out, saved, device)
            last = distil(recipe, Given(**given), places, telling.stood, telling.wrote)
        except Diverged as error:
            raise Mendable(
                f"learning diverged: {str(error).partition(';')[0]}; give a lower --learning-rate, remove {saved} if it is "
                "there, and begin anew"
            ) from None
        except KeyboardInterrupt:
            telling.stopped(last_in=saved)
            raise
    seconds = telling.seconds
    result = {
        "model": str(out),
        "way": given["way"],
        "steps": last.step,
        "nats_per_token": last.nats,
        "tokens_written": telling.written,
        "seconds": seconds,
    }
    show(result, as_json, lambda: f"{out}: {counted(last.step, 'step')} in {seconds:.1f} s")


class _Telling:
    """How far it is, every two seconds."""

    def __init__(self, is_silent: bool) -> None:
        self._is_silent, self._began = is_silent, time.monotonic()
        self._seldom, self._stand = seldom(), "reading both models"
        self.written = 0

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def stood(self, stand: "Stand") -> None:
        """A step is done."""
        ended = "" if stand.ended is None else f", {stand.ended:.0%} of answers ended"
        self._stand = (
            f"step {stand.step} of {stand.num_steps}, {stand.nats:.4f} nats a token{ended}"
        )
        self._tell()

    def wrote(self, tokens: int) -> None:
        """The engine sampled some."""
        self.written += tokens
        self._tell()

    def stopped(self, last_in: Path) -> None:
        """Before the end."""
        if last_in.exists():
            click.echo(f"stopped; the same command goes on from {last_in}", err=True)

    def _tell(self) -> None:
        if not self._is_silent:
            self._seldom(
                f"{self._stand}; {counted(self.written, 'token')} written, {self.seconds:.0f} s"
            )
