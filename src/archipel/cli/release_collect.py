"""`archipel release collect`: a run's ledger and blobs kept while it runs, before its lab lets them go."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import LabUrl, Mendable, mending, show
from archipel.cli.lab_door import EXPECT, JSON, bounded_fetch
from archipel.cli.names import run_names
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.cli.release_sources import Place
    from archipel.records.fields import BlobRef
    from archipel.release.gathering import Find


@click.command()
@click.argument("name", metavar="RUN", shell_complete=run_names)
@click.option("--lab", "url", metavar="URL", type=LabUrl(), required=True, help="A lab that runs.")
@click.option(
    "--into",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that keeps them; the same one again takes what is new.",
)
@EXPECT
@click.option("--follow", is_flag=True, help="Go on until the run is over, or Ctrl-C.")
@click.option(
    "--every",
    "every_s",
    default=30.0,
    show_default=True,
    type=click.FloatRange(1.0, 86_400.0),
    help="Seconds between looks, with --follow.",
)
@bounded_fetch("--into")
@JSON
def command(
    name: str,
    url: str,
    into: Path,
    expect: str | None,
    follow: bool,
    every_s: float,
    max_gb: float,
    as_json: bool,
) -> None:
    """Keep what a run's release will need: a lab keeps results and old versions only as long as it needs them itself.

    What is kept is named by its digest, fetched once, and stays whole if this is stopped. `archipel release make
    RUN --home DIR` takes the folder as it takes a lab's.

    \b
    Examples:
      archipel release collect secret-order --lab http://lab.example:8440 --into kept --follow
      archipel release make secret-order --home kept --out bundle
    """
    from archipel.cli.release_sources import Place

    place = Place(url, None, expect, max_gb, into)
    while True:
        try:
            told = _once(place, name)
        except Mendable as error:
            if not follow:
                raise
            click.echo(f"{error}; trying again", err=True)
        else:
            if told["new"] or told["over"] or not follow:
                show(told, as_json, lambda told=told: _words(told))  # type: ignore[misc]
            if not follow or told["over"]:
                return
        time.sleep(every_s)


def _once(place: "Place", name: str) -> dict[str, Any]:
    """What is kept now, and what is new of it."""
    from archipel.blobs.layout import Layout
    from archipel.cli.release_sources import MIRROR, blobs_at, finder, mirror_of, read_run
    from archipel.lab.state import OPEN_PHASES

    place.scratch.mkdir(parents=True, exist_ok=True)
    ledger, checked = read_run(place, name)
    run = ledger.state.runs.get(name)
    if run is None:
        raise Mendable(f"this ledger opens no run {name!r:.80}")
    mirror = mirror_of(place, checked, place.scratch / MIRROR)
    before = {digest for digest, _ in Layout(place.scratch / "blobs").whole_files()}
    kept = lost = new = 0
    with blobs_at(place) as blobs, mending(OSError):
        find = finder(blobs)
        for blob in (*_wanted(ledger.hearing), *_parts(ledger.hearing, find)):
            if find(blob) is None:
                lost += 1
            else:
                kept, new = kept + 1, new + (blob.digest not in before)
    return {
        "run": name,
        "into": str(place.scratch),
        "entries": mirror.size,
        "blobs": kept,
        "new": new,
        "gone": lost,
        "over": run.phase not in OPEN_PHASES,
    }


def _wanted(heard: Any) -> "Iterator[BlobRef]":
    """What a release holds, the newest first: that goes last."""
    from archipel.release.contents import blobs_of

    yield from reversed(list(dict.fromkeys(blobs_of(heard.story))))


def _parts(heard: Any, find: "Find") -> "Iterator[BlobRef]":
    """Of versions in parts all parts, as far as their documents are to be had."""
    from archipel.lab.parted import Parted
    from archipel.records.weight_parts import BadParts

    def read(blob: "BlobRef") -> bytes:
        path = find(blob)
        if path is None:
            raise BadParts("it is gone")
        return path.read_bytes()

    parted = Parted()
    for update in reversed(heard.story.updates):
        with suppress(BadParts):
            yield from parted.blobs_of(update.published, read)


def _words(told: dict[str, Any]) -> str:
    gone = f"; {told['gone']} were gone already" if told["gone"] else ""
    return (
        f"{told['into']}: {counted(told['entries'], 'entry', 'entries')}, {counted(told['blobs'], 'blob')}, "
        f"{told['new']} new{gone}"
    )
