"""`archipel node key`: the name of this node's key, and a new key in its place."""

import time
from pathlib import Path

import click

from archipel.cli.doors import Mendable, home_folder, mending, show
from archipel.cli.keys import name_of_key
from archipel.cli.lab_door import JSON


@click.command()
@click.option(
    "--home", type=click.Path(path_type=Path), help="The node's folder [~/.archipel/node]."
)
@click.option(
    "--new", "is_new", is_flag=True, help="Make a new key; the one before is kept beside it."
)
@JSON
def key(home: Path | None, is_new: bool, as_json: bool) -> None:
    """Print this node's did, making its key on first use; its operator delegates to it (`archipel operator delegate`).

    \b
    Examples:
      archipel node key
      archipel node key --new
    """
    folder = home_folder("node", home)
    path = folder / "node.key"
    before = name_of_key(path) if is_new and path.exists() else None
    if before is not None:
        _put_away(folder, path)
    did = name_of_key(path, make=True)
    show({"node": did, "replaces": before}, as_json, lambda: did)
    if before is not None:
        click.echo(
            f"the key before, {before}, is kept beside it; the operator's word for both:\n"
            f"  archipel operator delegate {did} --replaces {before}",
            err=True,
        )


def _put_away(folder: Path, path: Path) -> None:
    from archipel.node.home import is_taken
    from archipel.node.membership import DELEGATION_FILE

    with mending(OSError):
        if is_taken(folder):
            raise Mendable(f"a node runs from {folder}; stop it before it gets a new key")
        mark = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        path.rename(folder / f"node.key.{mark}")
        delegation = folder / DELEGATION_FILE  # it is to the key before
        if delegation.exists():
            delegation.rename(folder / f"{DELEGATION_FILE}.{mark}")
