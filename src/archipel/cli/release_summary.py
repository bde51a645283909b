"""`archipel release summary`: the public summary of training content, filled from a ledger."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import DEFAULT_LAB_URL, LabUrl, Mendable, home_folder, mending, show
from archipel.cli.lab_door import EXPECT, JSON, bounded_fetch

if TYPE_CHECKING:
    from archipel.cli.release_sources import Place
    from archipel.release.facts import Facts
    from archipel.release.gathering import Find
    from archipel.release.index import Released
    from archipel.release.stated import Stated


@click.command()
@click.argument("place", metavar="DIR | RUN")
@click.option("--eu", "is_eu", is_flag=True, help="After the European Commission's template.")
@click.option(
    "--lab",
    "url",
    metavar="URL",
    type=LabUrl(),
    help=f"Of a run: a lab that runs [{DEFAULT_LAB_URL}].",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="Of a run: a lab's folder, a copy of one, or what `release collect` kept.",
)
@EXPECT
@click.option(
    "--stated",
    "stated_path",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="TOML of what only its owner can say.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write [the terminal].",
)
@bounded_fetch("--scratch")
@click.option(
    "--scratch",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where fetched blobs are kept [~/.archipel/release].",
)
@JSON
def command(
    place: str,
    is_eu: bool,
    url: str | None,
    home: Path | None,
    expect: str | None,
    stated_path: Path | None,
    out: Path | None,
    max_gb: float,
    scratch: Path | None,
    as_json: bool,
) -> None:
    """Fill the public summary of training content that European law asks of providers, as far as the ledger goes.

    DIR is a release, RUN a run of a lab. What the ledger does not know and the owner's words do not say is marked "to
    be stated by the provider"; how many such answers are left is said at the end. It is no legal advice.

    \b
    Examples:
      archipel release summary bundle --eu
      archipel release summary secret-order --eu --stated release.toml --out summary.md
    """
    from archipel.cli.release_sources import Place, stated_in
    from archipel.release.papers.eu_summary import eu_summary, still_to_be_stated

    if not is_eu:
        raise click.UsageError("which summary? There is one so far: --eu")
    if url is not None and home is not None:
        raise click.UsageError("--lab reads over HTTP; give it without --home")
    index = _index_in(Path(place))
    if index is not None and (url is not None or home is not None):
        raise click.UsageError(
            f"{place} is a release, which has its ledger; leave --lab and --home out"
        )
    name = place
    if index is not None:
        name, home = index.run, Path(place)
    elif home is None:
        url = url or DEFAULT_LAB_URL
    with mending(ValueError, OSError):
        stated = stated_in(stated_path)
        where = Place(url, home, expect, max_gb, home_folder("release", scratch))
        text = eu_summary(_facts(where, name, stated, index is not None), stated, index)
        if out is not None:
            out.write_bytes(text)
    left = still_to_be_stated(text)
    said = {"run": name, "to_be_stated": left, "out": str(out) if out else None}
    show(
        said | {"summary": text.decode()},
        as_json,
        lambda: str(out) if out else text.decode().rstrip(),
    )
    click.echo(f"{left} answers are to be stated by the provider", err=True)


def _index_in(folder: Path) -> "Released | None":
    """Of a release; None: it is none, so a run's name is meant."""
    from pydantic import ValidationError

    from archipel.release.index import MAX_INDEX_BYTES, read_index
    from archipel.release.places import INDEX

    path = folder / INDEX
    if not path.is_file():
        if folder.is_dir():
            raise Mendable(f"{folder} is no release: it has no {INDEX}")
        return None
    with mending(OSError), path.open("rb") as file:
        data = file.read(MAX_INDEX_BYTES + 1)
    try:
        return read_index(data)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        named = ".".join(map(str, fault["loc"]))
        raise Mendable(f"{path} is no index of a release: {named}: {fault['msg']}") from None
    except ValueError as error:
        raise Mendable(f"{path} is no index of a release: {error}") from None


def _facts(place: "Place", name: str, stated: "Stated", in_release: bool) -> "Facts":
    from archipel.cli.release_sources import blobs_at, finder, read_run
    from archipel.release.gathering import gather

    ledger, _ = read_run(place, name)
    if in_release:
        return gather(ledger, _finder_in(place.folder), stated)
    with blobs_at(place) as blobs:
        return gather(ledger, finder(blobs), stated)


def _finder_in(release: Path) -> "Find":
    """Blobs as a release lays them; what is not what its name says is not there."""
    from archipel.records.fields import BlobRef
    from archipel.release.oms.folder import file_sha256
    from archipel.release.places import blob_place

    def find(blob: BlobRef) -> Path | None:
        path = release / blob_place(blob.digest)
        try:
            digest, size_bytes = file_sha256(path)
        except OSError:
            return None
        return path if (f"sha256:{digest}", size_bytes) == (blob.digest, blob.size) else None

    return find
