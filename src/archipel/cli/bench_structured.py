"""`archipel bench structured`: what it costs that answers are documents of a JSON schema."""

from pathlib import Path
from typing import Any

import click

from archipel.cli.benches import JSON, quick_option, teller


@click.command("structured")
@click.argument("model", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--weights",
    type=click.Choice(["auto", "float32", "bfloat16", "int8", "int4"]),
    default="auto",
    show_default=True,
    help="What weights are held as: in fewer bits they take less memory.",
)
@click.option("--rounds", type=click.IntRange(1, 50), help="Of everything, in turn [7; quick: 3].")
@click.option("--threads", type=click.IntRange(1, 1024), help="Processor threads [1].")
@quick_option("Fewer clients, steps and rounds.")
@JSON
def command(model: Path, weights: str, quick: bool, as_json: bool, **given: Any) -> None:
    """Measure decode steps of the directory MODEL with a JSON schema beside steps without, side by side in one process.

    Three schemas, 1 to 16 sequences at once, in an order drawn anew in each round. Processor time is what the aim of
    5% is about: a busy machine distorts it least. Ctrl-C shows what was measured.

    \b
    Examples:
      archipel bench structured smollm2
      archipel bench structured smollm2 --weights int8 --rounds 3 --json
    """
    from dataclasses import replace

    from archipel.bench.endings import in_order
    from archipel.bench.structured import QUICK, Plan, measure, table
    from archipel.cli.benches import chosen
    from archipel.cli.doors import mending, show
    from archipel.serve.question import Refusal

    plan = replace(QUICK if quick else Plan(), weights=weights)
    plan = replace(plan, **chosen(plan, given, "rounds", "threads"))
    found: dict[str, Any] = {}
    try:
        with in_order(), mending(Refusal, OSError, ValueError, RuntimeError):
            measure(model, plan, teller(), found)
    finally:
        if found:
            show(found, as_json, lambda: table(found))
