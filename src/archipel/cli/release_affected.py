"""`archipel release affected`: what withdrawn contributions and revoked keys affect downstream."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import (
    DEFAULT_LAB_URL,
    LabUrl,
    home_folder,
    mending,
    printable,
    show,
)
from archipel.cli.lab_door import EXPECT, JSON

if TYPE_CHECKING:
    from archipel.release.affected import Affected, Downstream, Known

MAX_GB = 1.0
MAX_KNOWN = 1000
_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command()
@click.argument("place", metavar="RUN | DIR")
@click.option(
    "--lab",
    "url",
    metavar="URL",
    type=LabUrl(),
    help=f"Of a run: a lab that runs [{DEFAULT_LAB_URL}].",
)
@click.option(
    "--home", type=_FOLDER, help="Of a run: a lab's folder, a copy of one, or what was collected."
)
@EXPECT
@click.option(
    "--also",
    multiple=True,
    type=_FOLDER,
    help="A release that may hold what is affected, or be made from it; may be given several times.",
)
@JSON
def command(
    place: str,
    url: str | None,
    home: Path | None,
    expect: str | None,
    also: tuple[Path, ...],
    as_json: bool,
) -> None:
    """List what each withdrawal and each revoked key of a run's ledger affects: versions, releases, derivatives.

    DIR is a release, whose ledger ends when it was made; RUN a run of a lab, whose ledger knows what was withdrawn
    since. A version is affected if it was made from the contribution, and so is every later one. How much of it is
    left in the weights is not said: nobody can compute that from a ledger.

    \b
    Examples:
      archipel release affected secret-order --also bundle --also derivative
      archipel release affected bundle --json
    """
    from archipel.cli.release_sources import Place, read_run
    from archipel.release.affected import affected, downstream
    from archipel.release.places import INDEX

    if url is not None and home is not None:
        raise click.UsageError("--lab reads over HTTP; give it without --home")
    name, folders = place, list(also)
    if (Path(place) / INDEX).is_file():
        if url is not None or home is not None:
            raise click.UsageError(f"{place} is a release, which has its ledger")
        folders.insert(0, Path(place))
        home = Path(place)
        name = _known(home).index.run
    elif home is None:
        url = url or DEFAULT_LAB_URL
    if len(folders) > MAX_KNOWN:
        raise click.UsageError(f"at most {MAX_KNOWN} releases; got {len(folders)}")
    known = [_known(each) for each in folders]
    where = Place(url, home, expect, MAX_GB, home_folder("release", None, make=False))
    with mending(ValueError, OSError):
        ledger, _ = read_run(where, name)
        found = affected(ledger)
    heard = ledger.hearing
    reached = [
        [] if each.first is None else downstream(heard, ledger.lab, each.first, known)
        for each in found
    ]
    said = [
        asdict(one) | {"releases": [asdict(each) for each in below]}
        for one, below in zip(found, reached, strict=True)
    ]
    told: dict[str, Any] = {"run": name, "entries": ledger.head.size, "affected": said}
    show(told, as_json, lambda: printable("\n".join(_lines(name, found, reached, len(known)))))


def _known(folder: Path) -> "Known":
    """A release in a folder: its signature holds, and its index is as signed."""
    import hashlib

    from archipel.release.affected import Known
    from archipel.release.parents import NoParent, read_released

    with mending(NoParent, OSError):
        index, data = read_released(folder)
    return Known(str(folder), f"sha256:{hashlib.sha256(data).hexdigest()}", index)


def _lines(
    run: str, found: "list[Affected]", reached: "list[list[Downstream]]", num_known: int
) -> Iterator[str]:
    if not found:
        yield f"nothing of {run} was withdrawn, and no key was revoked"
    for one, below in zip(found, reached, strict=True):
        reason = f": {one.reason}" if one.reason else ""
        yield f"{one.what} {one.name}, entry {one.entry}, by {one.author}{reason}"
        if one.first is None:
            works = f"; {len(one.works)} accepted works are in no version" if one.works else ""
            yield f"     no version that this ledger knows was made from it{works}"
            continue
        yield f"     versions {one.first} to {one.last}: {one.how}"
        yield from (f"     {each.place} ({each.title}): {each.why}" for each in below)
        yield f"     {len(below)} of {num_known} releases that were named"
