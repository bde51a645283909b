"""`archipel plan compare`: two plans side by side."""

import json
from pathlib import Path
from typing import Any

import click

from archipel.cli.doors import columns, mending, show
from archipel.cli.grouped import together
from archipel.cli.questions import write

OPTIONS = (
    click.option("--name", "names", multiple=True, help="Compare this quantity too, by name."),
    click.option("--json", "as_json", is_flag=True, help="Print data for machines."),
    click.option("--plot", type=click.Path(path_type=Path), help="Write a .png or .svg picture."),
    click.option("--save", type=click.Path(path_type=Path), help="Write the data to a file too."),
)


@click.command("compare")
@click.argument("first")
@click.argument("second")
@together(*OPTIONS)
def command(first: str, second: str, **given: Any) -> None:
    """Two plans side by side: saved with --save, or quoted requests.

    Both are put with the seed of the first, so that what they share cancels out of the ratio. Every
    answer that both give is shown with its interval and the ratio of the second to the first, then the
    options and the constants that differ.

    \b
    Examples:
      archipel plan compare "lab --kind h100" "lab --kind b200"
      archipel plan compare "lab --as-of 2024-09" "lab"
      archipel plan lab --save mine.json; archipel plan compare mine.json "lab --country fra"
      archipel plan compare "meek" "meek --budget 1M" --name meek.gap.5y
    """
    from archipel.cli.quoted import put
    from archipel.planning.answering import for_json
    from archipel.planning.comparing import compared, compared_text
    from archipel.planning.drawing import check_format
    from archipel.planning.mistakes import CannotPlan

    with mending(CannotPlan):
        ending = check_format(given["plot"].name) if given["plot"] else ""
        data = compared(put(first), put(second), given["names"])
        plain = for_json(data)
        if given["save"]:
            write(given["save"], json.dumps(plain, indent=2).encode())
        if given["plot"]:
            from archipel.planning.drawing import picture

            write(given["plot"], picture(data, ending))
        show(plain, given["as_json"], lambda: compared_text(data, columns()))
