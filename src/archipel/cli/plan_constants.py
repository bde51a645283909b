"""`archipel plan constants`: what the tables know, in every vintage, with its source."""

from pathlib import Path

import click

from archipel.cli.doors import columns, mending, show
from archipel.cli.names import constant_names
from archipel.cli.questions import read_text


@click.command("constants")
@click.argument("name", default="", shell_complete=constant_names)
@click.option("--as-of", default="", help="As known then, e.g. 2025-03.")
@click.option("--table", type=click.Path(path_type=Path), help="Your own constants on top.")
@click.option("--json", "as_json", is_flag=True, help="Print data for machines.")
def command(name: str, as_of: str, table: Path | None, as_json: bool) -> None:
    """List constants: value, interval, vintage, grade and source of each.

    NAME is a whole name, a group such as `rental`, or a part of a name; without it, the groups.

    \b
    Examples:
      archipel plan constants
      archipel plan constants rental.h100
      archipel plan constants accelerator.b200 --json
    """
    from archipel.planning import listing
    from archipel.planning.mistakes import CannotPlan
    from archipel.planning.tables import read_own, shelf

    with mending(CannotPlan):
        own = read_own(read_text(table), str(table)) if table else None
        found = shelf(as_of, own)
        if not name:
            show(listing.groups(found), as_json, lambda: listing.groups_text(found, columns()))
            return
        rows = listing.constants(found, name)
        show(rows, as_json, lambda: listing.constants_text(rows, columns()))
