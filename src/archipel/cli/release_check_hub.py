"""`archipel release check-hub`: whether a folder can be put on a model hub as it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import Mendable, mending, printable, show
from archipel.cli.lab_door import JSON
from archipel.cli.telling import seldom
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.release.hub_layout import HubCheck


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@JSON
def command(folder: Path, as_json: bool) -> None:
    """Check that a release, or any model directory, can be uploaded to Hugging Face's hub as a plain folder.

    Weights and configuration at the root, a card whose settings the hub reads, no file that loads as pickle, sizes
    within the hub's limits. Nothing is uploaded, and no network is needed. Exit code 1: something would not be taken.

    \b
    Examples:
      archipel release check-hub bundle
      archipel release check-hub bundle --json
    """
    from archipel.release.hub_layout import check_hub
    from archipel.release.oms.statement import BadOms

    if folder.is_symlink() or not folder.is_dir():
        raise Mendable(f"{folder} is no folder; name the one that would be uploaded")
    with mending(BadOms, OSError):
        found = check_hub(folder, seldom())
    told = {
        "folder": str(folder),
        "holds": not found.faults,
        "files": found.num_files,
        "bytes": found.num_bytes,
        "faults": list(found.faults),
        "advice": list(found.advice),
    }
    show(told, as_json, lambda: printable("\n".join(_lines(folder, found))))
    if found.faults:
        raise Mendable(f"{counted(len(found.faults), 'fault')}: the hub would not take {folder} so")


def _lines(folder: Path, found: "HubCheck") -> Iterator[str]:
    yield f"{folder}: {counted(found.num_files, 'file')}, {found.num_bytes} bytes"
    yield from (f"  FAULT: {each}" for each in found.faults)
    yield from (f"  better: {each}" for each in found.advice)
    if not found.faults:
        yield f"the hub takes it: hf upload OWNER/NAME {folder}"
