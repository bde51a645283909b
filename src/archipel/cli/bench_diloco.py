"""`archipel bench diloco`: training across sites beside training in one place, loss over bytes."""

from dataclasses import replace
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
from archipel.cli.outputs import PICTURE
from archipel.cli.telling import seldom

if TYPE_CHECKING:
    from archipel.bench.diloco import Row

SIZE_NAMES = ("50k", "0.4M", "1M", "3M", "11M")


@click.command("diloco")
@click.option(
    "--text",
    "text_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File whose bytes are learned [the source of this package].",
)
@click.option("--size", "sizes", type=click.Choice(SIZE_NAMES), multiple=True, help="Only this.")
@click.option("--way", "names", multiple=True, help="Only this one, by its name in the table.")
@seeds_option("of each size its own; quick: 2")
@click.option("--steps", type=click.IntRange(2, 1_000_000), help="Inner steps of each member.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 1, min_open=True),
    help="Peak learning rate of every way [each kind's own, tuned].",
)
@quick_option("A tiny model for few steps: to see it work.")
@out_option("diloco")
@click.option("--png", type=PICTURE, help="Draw loss over bytes here.")
@JSON
def command(
    text_path: Path | None, out: Path | None, png: Path | None, as_json: bool, **given: Any
) -> None:
    """Train one model in many ways with the same text, and compare held-out loss and bytes.

    Four members in one process, from the same first weights: synchronous data parallel, one machine, DiLoCo with several
    codecs, SparseLoCo, Streaming DiLoCo, and one link that is a hundred times slower. Ratios are to synchronous training
    of the same size and seed. Takes hours on one core; --size and --way take parts.

    \b
    Examples:
      archipel bench diloco --quick
      archipel bench diloco --text shakespeare.txt --size 1M --seeds 3 --png diloco.png
      archipel bench diloco --size 3M --way 'data parallel' --way DiLoCo --json

    Whatever stops it, it prints what it has, and the same command with the same --out goes on.
    """
    from archipel.bench.diloco import measure
    from archipel.bench.diloco_plan import QUICK, Plan
    from archipel.bench.diloco_report import draw, row_line, table, to_json
    from archipel.bench.diloco_text import text_of
    from archipel.cli.doors import mending, show

    rows: list[Row] = []
    with mending(OSError, ValueError):
        text = text_of(text_path)
        plan = QUICK if given["quick"] else Plan()
        plan = replace(plan, **chosen(plan, given, "sizes", "names", "rate"))
        if given["steps"]:
            plan = replace(plan, budget=replace(plan.budget, steps=given["steps"]))
        folder, tell = out_folder(out, "diloco"), teller()

        def on_row(row: "Row") -> None:
            rows.append(row)
            tell(row_line(row))

        def finish() -> None:
            if png is not None and rows:
                draw(rows, plan.budget, png)
            show(to_json(rows, plan.budget, text.name), as_json, lambda: table(rows, plan.budget))

        with whatever_ends(folder, tell, finish):
            measure(plan, text, folder, seldom(tell), on_row)
