"""`archipel run parts`: some of a version's weights, for whoever holds some of the layers."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import LAB, at_work, home_folder, mending, show
from archipel.cli.lab_door import JSON, MIRRORS, ask_lab
from archipel.cli.names import run_names
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.node.some_parts import Chosen
    from archipel.records.weight_parts import PartIndex


class Span(click.ParamType):
    """Two numbers with a sign between them."""

    name = "span"

    def __init__(self, sign: str) -> None:
        self.sign = sign

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Read."""
        if isinstance(value, tuple):
            return value
        found = re.fullmatch(rf"(\d{{1,6}}){self.sign}(\d{{1,6}})", value)
        if found is None:
            self.fail(f"{value!r:.40} is not like 0{self.sign}16", param, ctx)
        return int(found[1]), int(found[2])


@click.command()
@click.argument("name", shell_complete=run_names)
@click.option(
    "--into",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write, a safetensors file for each part.",
)
@click.option("--version", type=int, help="Of the weights [the newest].")
@click.option(
    "--layers",
    type=Span(":"),
    metavar="FIRST:STOP",
    help="Parts with layers FIRST up to, not with, STOP.",
)
@click.option(
    "--tensors",
    multiple=True,
    metavar="TEXT",
    help="Parts with tensors whose names begin so; may be given several times.",
)
@click.option(
    "--rank",
    type=Span("/"),
    metavar="RANK/WORLD",
    help="Of tensors that are cut by rows, the parts of this rank alone.",
)
@click.option("--plan", is_flag=True, help="Say which parts that are, and fetch none.")
@MIRRORS
@click.option("--home", type=click.Path(path_type=Path), help="Cache [~/.archipel/export].")
@LAB
@JSON
def parts(
    name: str,
    into: Path,
    version: int | None,
    layers: tuple[int, int] | None,
    tensors: tuple[str, ...],
    rank: tuple[int, int] | None,
    plan: bool,
    mirrors: tuple[str, ...],
    home: Path | None,
    lab_url: str,
    as_json: bool,
) -> None:
    """Fetch and verify the parts of a version that hold some layers or tensors, one in memory at a time.

    Of a run that is published in parts (run.parts in its recipe). Without --layers and --tensors it is all of them. What
    is here already is not fetched again, and a transfer that was cut goes on: stop it, and call it again.

    \b
    Examples:
      archipel run parts large-run --layers 0:16 --into stage-0
      archipel run parts large-run --layers 48:61 --tensors model.norm --tensors lm_head --into stage-3
      archipel run parts large-run --into all --mirror https://mirror.example/large-run
      archipel run parts large-run --layers 0:16 --into stage-0 --plan
    """
    from archipel.blobs import BlobStore
    from archipel.node.some_parts import Asked, fetch_some
    from archipel.work.part_plan import layers as names_of
    from archipel.work.part_plan import rows_wanted, wanted

    if layers is not None and layers[0] >= layers[1]:
        raise click.BadParameter(f"{layers[0]}:{layers[1]} has no layer", param_hint="--layers")
    if rank is not None and rank[0] >= rank[1]:
        raise click.BadParameter(f"{rank[0]}/{rank[1]} is no rank", param_hint="--rank")
    prefixes = [*tensors, *(names_of(*layers) if layers is not None else ())] or [""]

    def choose(index: "PartIndex") -> Sequence[int]:
        chosen = wanted(index, prefixes)
        return chosen if rank is None else rows_wanted(index, chosen, *rank)

    with mending(OSError, ValueError):
        store = BlobStore(home_folder("export", home) / "blobs")
        at_work("fetching")
        found = ask_lab(
            fetch_some(lab_url, store, Asked(name, version, choose, plan), mirrors, _progress)
        )
        files = [] if plan else _written(found, into)
    index = found.links[-1].index
    told = {
        "run": name,
        "version": index.version,
        "weights": index.state,
        "parts": [
            {"number": each, "first": part.first, "last": part.last, "bytes": part.num_bytes}
            for each in found.numbers
            for part in (index.parts[each],)
        ],
        "parts_of_version": len(index.parts),
        "bytes_of_version": index.num_bytes,
        "bytes_from_mirrors": found.bytes_from_mirrors,
        "bytes_from_lab": found.bytes_from_lab,
        "files": [str(path) for path in files],
    }
    show(told, as_json, lambda: _words(told, into, plan))


def _written(found: "Chosen", into: Path) -> list[Path]:
    from archipel.work.export import ExportFailed
    from archipel.work.part_chain import SomeParts, write_some

    count = len(found.numbers)
    links = [SomeParts(each.index, each.files) for each in found.links]
    with mending(ExportFailed):
        return write_some(
            links, found.numbers, into, lambda done: at_work(f"part {done} of {count}")
        )


def _progress(here: int, wanted: int) -> None:
    """Bytes of parts that are whole here; not of what is on its way."""
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(f"\r{here / 1e6:.1f} of {wanted / 1e6:.1f} MB ", err=True, nl=False)


def _words(told: dict[str, Any], into: Path, plan: bool) -> str:
    size = sum(part["bytes"] for part in told["parts"])
    which = (
        f"{counted(len(told['parts']), 'part')} of {told['parts_of_version']} of version "
        f"{told['version']}, {size / 1e6:.1f} of {told['bytes_of_version'] / 1e6:.1f} MB of weights"
    )
    if plan:
        lines = [
            f"  {each['number']:5} {each['first']} to {each['last']}" for each in told["parts"]
        ]
        return "\n".join([which, *lines])
    return (
        f"{into}: {which}; fetched {told['bytes_from_mirrors'] / 1e6:.1f} MB from mirrors, "
        f"{told['bytes_from_lab'] / 1e6:.1f} MB from the lab"
    )
