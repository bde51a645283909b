"""`archipel bench adapt`: a pretrained model adapted to a text by several members, beside a central run."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.benches import (
    JSON,
    chosen,
    out_folder,
    out_option,
    quick_option,
    seeds_option,
    teller,
    whatever_ends,
)
from archipel.cli.telling import seldom

if TYPE_CHECKING:
    from archipel.bench.adapt import Row, Trial

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_MANY = click.IntRange(1, 1_000_000)


@click.command("adapt")
@click.option("--text", type=_FILE, required=True, help="UTF-8 text, at most 8 MiB.")
@click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True),
    help="A GGUF file or model directory [SmolLM2-135M-Instruct from the package registry].",
)
@click.option("--members", type=click.IntRange(2, 64), help="How many train [3].")
@click.option("--versions", type=_MANY, help="Outer steps [4; quick: 2].")
@click.option("--every", type=_MANY, help="Inner steps between two exchanges [8; quick: 1].")
@click.option("--batch", type=_MANY, help="Windows of a member and inner step [1].")
@click.option("--sequence-length", type=_MANY, help="Tokens of a window [128; quick: 64].")
@click.option("--way", "names", multiple=True, help="Only this one, by its name in the table.")
@click.option(
    "--rate",
    "rates",
    type=click.FloatRange(0, 1, min_open=True),
    multiple=True,
    help="Peak learning rates tried for each kind of way; one: nothing is tried [5e-5, 1.5e-4, 4.5e-4].",
)
@seeds_option("1")
@quick_option("Two inner steps and one rate: to see it work.")
@out_option("adapt")
@JSON
def command(
    text: Path, model: Path | None, out: Path | None, as_json: bool, quick: bool, **given: Any
) -> None:
    """Adapt a pretrained model to a text, by members that exchange seldom and by one central run.

    Members are trained in turn in this process, each with its optimiser's state on the disk. All ways take the same windows
    and as many tokens, but for one member's share; the last tenth of the text is held out. With 135M weights it takes half
    an hour of one core, some 7 GB of memory and 15 GB of disk.

    \b
    Examples:
      archipel bench adapt --text plays.txt --quick
      archipel bench adapt --text plays.txt --members 3 --versions 8 --every 16 --seeds 2 --json
      archipel bench adapt --text plays.txt --model start --rate 1e-4 --way central --way 'members, e3m0'

    Whatever stops it, it prints what it has, and the same command with the same --out goes on.
    """
    from archipel.bench.adapt import AdaptBench, names_of
    from archipel.bench.adapt_ground import ground_of
    from archipel.bench.adapt_plan import QUICK, AdaptPlan
    from archipel.bench.adapt_report import row_line, table, to_json, trial_line
    from archipel.cli.demo_real import model_directory
    from archipel.cli.doors import child_environment, mending, show
    from archipel.model.shelf import NotBrought

    rows: list[Row] = []
    trials: list[Trial] = []
    fields = ("members", "versions", "every", "batch", "sequence_length", "names", "rates")
    with mending(NotBrought, OSError, ValueError, RuntimeError):
        plan = QUICK if quick else AdaptPlan()
        plan = replace(plan, **chosen(plan, given, *fields))
        folder, tell = out_folder(out, "adapt"), teller()

        def on_trial(trial: "Trial") -> None:
            trials.append(trial)
            tell(trial_line(trial))

        def on_row(row: "Row") -> None:
            rows.append(row)
            tell(row_line(row))

        def finish() -> None:
            show(to_json(rows, trials, plan), as_json, lambda: table(rows, plan))

        with whatever_ends(folder, tell, finish):
            start = model_directory(model, folder / "start", tell)
            ground = partial(ground_of, plan, start, text, folder, tell, child_environment())
            bench = AdaptBench(plan, names_of(start, text), ground, folder, seldom(tell))
            bench.measure(on_trial, on_row)
