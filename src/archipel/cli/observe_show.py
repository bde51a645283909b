"""`archipel observe show`: figures of a snapshot."""

from pathlib import Path

import click

from archipel.cli.doors import columns, mending, printable, show
from archipel.cli.lab_door import JSON
from archipel.cli.observe_at import AT, opened

MAX_TOP = 1000
BY = ("country", "organisation", "access", "size", "openness")
METRICS = ("downloads_all", "downloads_30d", "likes", "derivatives")


@click.command("show")
@click.argument("measures", nargs=-1, metavar="[MEASURE]...")
@AT
@click.option("--by", type=click.Choice(BY), default="country", show_default=True, help="Groups.")
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    default="downloads_all",
    show_default=True,
    help="What is counted.",
)
@click.option("--leaderboard", default="", metavar="NAME", help="Of top_open and labs_ahead.")
@click.option("--benchmark", default="", metavar="NAME", help="Of lag.")
@click.option(
    "--model", default="", metavar="ID", help="Of lag (a closed one) and ram: this alone."
)
@click.option(
    "--country", default="US", show_default=True, metavar="XX", help="Of labs and labs_ahead."
)
@click.option(
    "--top",
    type=click.IntRange(1, MAX_TOP),
    default=15,
    show_default=True,
    help="First places of a leaderboard.",
)
@click.option("--age", type=int, default=30, show_default=True, metavar="DAYS", help="Of ram.")
@click.option(
    "--scheme",
    default="mof",
    show_default=True,
    metavar="NAME",
    help="Of openness, and of --by openness.",
)
@JSON
def command(
    measures: tuple[str, ...], folder: Path | None, as_json: bool, **asked: str | int
) -> None:
    """Figures of a snapshot; without MEASURE all of them in a line each.

    A MEASURE is a name such as lag, or with the number of its definition, ram/1; without a number the newest.
    `archipel observe list --measures` tells all.

    \b
    Examples:
      archipel observe show
      archipel observe show top_open labs_ahead
      archipel observe show lag --benchmark mmlu --model openai/gpt-4
      archipel observe show ram/1 ram/2 --age 90 --at snapshots/2026-11-27
      archipel observe show adoption --by organisation --metric likes --json
    """
    from archipel.observatory.headlines import headlines
    from archipel.observatory.measures.measure import Asked, CannotAsk
    from archipel.observatory.measures.table import take
    from archipel.observatory.wording import measure_text

    snapshot = opened(folder)
    with mending(CannotAsk):
        if measures:
            question = Asked(**asked)  # type: ignore[arg-type]  # click gives each option its type
            found = [take(each, snapshot, question) for each in measures]
        else:
            found = list(headlines(snapshot).values())
    blocks = ("\n".join(measure_text(each, columns(), is_full=bool(measures))) for each in found)
    between = "\n\n" if measures else "\n"
    show([each.data() for each in found], as_json, lambda: printable(between.join(blocks)))
