"""`archipel bench byzantine`: what members that lie do to pretraining across sites, by how contributions are merged."""

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
from archipel.cli.telling import seldom

if TYPE_CHECKING:
    from archipel.bench.byzantine import Row


@click.command("byzantine")
@click.option(
    "--text",
    "text_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File whose bytes are learned [the source of this package].",
)
@click.option("--attack", "attacks", multiple=True, help="Only this, by its name in the table.")
@click.option("--defence", "defences", multiple=True, help="Only this, by its name in the table.")
@click.option(
    "--codec",
    type=click.Choice(["e3m0", "top_k"]),
    help="How contributions are written [e3m0]; top_k: merged by those that take it.",
)
@click.option(
    "--steps", type=click.IntRange(1, 100_000), help="Inner steps of each member [48; quick: 16]."
)
@seeds_option("2; quick: 1")
@quick_option("A tiny model, few attacks and steps: to see it work.")
@out_option("byzantine")
@JSON
def command(text_path: Path | None, out: Path | None, as_json: bool, **given: Any) -> None:
    """Train one model with eight members, two of which lie, under every attack with every way of merging.

    Held-out loss is compared to that of a plain mean without liars, with the same seed. Beside it stand how many
    contributions of liars and of honest members were refused and why, and how often a backdoor's trigger brings its
    target. Members are held in one process. Takes half an hour of a core for each seed.

    \b
    Examples:
      archipel bench byzantine --quick
      archipel bench byzantine --text shakespeare.txt --attack none --attack 'flip x10'
      archipel bench byzantine --defence 'gate, clip' --seeds 3 --json

    Whatever stops it, it prints what it has, and the same command with the same --out goes on.
    """
    from archipel.bench.byzantine import measure
    from archipel.bench.byzantine_plan import QUICK, Plan
    from archipel.bench.byzantine_report import row_line, table, to_json
    from archipel.bench.diloco_text import text_of
    from archipel.cli.doors import mending, show

    rows: list[Row] = []
    with mending(OSError, ValueError):
        text = text_of(text_path)
        plan = QUICK if given["quick"] else Plan()
        plan = replace(plan, **chosen(plan, given, "attacks", "defences", "codec"))
        if given["steps"]:
            plan = replace(plan, budget=replace(plan.budget, steps=given["steps"]))
        folder, tell = out_folder(out, "byzantine"), teller()

        def on_row(row: "Row") -> None:
            rows.append(row)
            tell(row_line(row))

        def finish() -> None:
            show(to_json(rows, plan, text.name), as_json, lambda: table(rows, plan))

        with whatever_ends(folder, tell, finish):
            measure(plan, text, folder, seldom(tell), on_row)
