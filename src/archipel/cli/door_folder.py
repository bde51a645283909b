"""A door's own folder on a command line, and who may use the door."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import Mendable, home_folder, mending

if TYPE_CHECKING:
    from archipel.door.accounts import Accounts

FOLDER = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="The door's own folder [~/.archipel/door].",
)


def accounts_at(folder: Path | None, make: bool = False) -> "Accounts":
    """The door's; raises Mendable: there is none, or its file cannot be used."""
    import sqlite3

    from archipel.door.accounts import Accounts
    from archipel.door.keys import FILE

    place = home_folder("door", folder, make=make)
    if not make and not (place / FILE).exists():
        raise Mendable(f"no keys in {place}; `archipel door key make NAME` makes the first")
    with mending(OSError, sqlite3.Error):
        return Accounts(place)
