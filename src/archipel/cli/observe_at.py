"""Which snapshot a command of `archipel observe` looks at."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import mending

if TYPE_CHECKING:
    from archipel.observatory.snapshot import Snapshot

AT = click.option(
    "--at",
    "folder",
    metavar="SNAPSHOT",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the snapshot.  [default: the one that ships]",
)


def opened(folder: Path | None) -> "Snapshot":
    """The snapshot in a folder, all of it checked; the newest that ships, if none is named.

    Raises:
        Mendable: it is none, in the reader's own words.
    """
    from archipel.observatory.folder import read
    from archipel.observatory.manifest import InvalidSnapshot
    from archipel.observatory.seeds import shipped

    with mending(InvalidSnapshot, OSError):
        return read(folder or shipped()[-1])
