"""Where a command reads a ledger from, and the ledger, checked: a lab that runs, a lab's folder, a mirror, a file."""

from pathlib import Path

import click

from archipel.cli.doors import DEFAULT_LAB_URL, LabUrl
from archipel.cli.grouped import together
from archipel.cli.lab_door import EXPECT
from archipel.cli.ledger_checked import Checked, Seen, read_ledger

ledger_options = together(
    click.option(
        "--lab",
        "url",
        metavar="URL",
        type=LabUrl(),
        help=f"A lab that runs [{DEFAULT_LAB_URL}].",
    ),
    click.option(
        "--home", type=click.Path(path_type=Path), help="A lab's folder, or a copy of one."
    ),
    click.option("--ledger", metavar="PLACE", help="A mirror, or a copy of a ledger."),
    EXPECT,
)
"""`--lab`, `--home`, `--ledger`, `--expect`: one of the first three."""


def checked_ledger(
    url: str | None,
    home: Path | None,
    ledger: str | None,
    expect: str | None,
    seen: Seen = lambda entry: None,
) -> Checked:
    """The ledger there, every entry folded; `seen` is told each. Raises Mendable as `read_ledger`."""
    if sum(place is not None for place in (url, home, ledger)) > 1:
        raise click.UsageError("give one of --lab, --home and --ledger")
    if home is None and ledger is None:
        url = url or DEFAULT_LAB_URL
    return read_ledger(url, ledger, home, expect, seen=seen)


def one_place(
    place: str | None, ledger: str | None, url: str | None, home: Path | None
) -> tuple[str | None, str | None]:
    """(address, file or folder), of which at most one is given."""
    if place is not None and (ledger is not None or url is not None):
        raise click.UsageError("the place, --lab and --ledger are the same; give one of them")
    if place is not None and place.startswith(("http://", "https://")):
        url = place
    elif place is not None:
        ledger = place
    if url is not None and (ledger is not None or home is not None):
        raise click.UsageError("--lab reads over HTTP; give it without a file and --home")
    return url, ledger
