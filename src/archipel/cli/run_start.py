"""What version 0 of a run is made from, and the text that it is opened with, as `run open` finds them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from archipel.cli.doors import Mendable, at_work, home_folder, mending
from archipel.cli.grouped import as_one
from archipel.cli.lab_door import ask_lab

if TYPE_CHECKING:
    from archipel.node.opening import Text
    from archipel.records.recipe_form import RecipeForm


class Start(NamedTuple):
    """What version 0 is made from."""

    weights: Path
    """A whole model."""
    adapter: Path | None
    """What lies over it already."""


class First(NamedTuple):
    """What version 0 is made from, as it was said; neither: from random weights."""

    start: Start | None
    earlier: str | None
    """RUN or RUN@VERSION."""


def _first(weights: Path | None, adapter: Path | None, earlier: str | None) -> First:
    if weights is not None and earlier is not None:
        raise click.UsageError("--weights and --from each say what version 0 is; give one of them")
    if adapter is not None and weights is None:
        raise click.UsageError("--adapter lies over --weights; --from brings its own")
    return First(None if weights is None else Start(weights, adapter), earlier)


start_options = as_one(
    "first",
    _first,
    click.option(
        "--weights",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="Model directory of version 0 (see `archipel sft`).",
    ),
    click.option(
        "--adapter",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="Adapter's directory to go on from, over --weights, for a recipe with [adapter] [one that changes nothing yet].",
    ),
    click.option(
        "--from",
        "earlier",
        metavar="RUN[@VERSION]",
        help="Start from a version of an earlier run [its newest]; the optimiser begins anew.",
    ),
)


def makes_its_start(recipe: "RecipeForm") -> bool:
    """Whether such a run may begin with random weights, which follow from its seed."""
    from archipel.records.recipe_pretrain import PretrainRecipe

    return isinstance(recipe, PretrainRecipe)


@contextmanager
def started(
    given: Start | None,
    earlier: str | None,
    recipe: "RecipeForm",
    lab_url: str,
    role: Path | None,
) -> Iterator[Start]:
    """What version 0 is made from; what was fetched or made for it goes when the block ends."""
    if given is not None:
        yield given
        return
    home = home_folder("export", None if role is None else role / "export")
    with tempfile.TemporaryDirectory(dir=home) as folder:
        if earlier is None:
            yield _made(recipe, Path(folder))
        else:
            yield _fetched(earlier, recipe, lab_url, home, Path(folder))


def _made(recipe: "RecipeForm", folder: Path) -> Start:
    from archipel.records.recipe_pretrain import PretrainRecipe
    from archipel.work.opening import begin_model

    if not isinstance(recipe, PretrainRecipe):
        raise TypeError(f"{recipe.run.name} does not begin with random weights")
    out = folder / "start"
    at_work("making the first weights")
    with mending(OSError, ValueError):
        begin_model(recipe, out)
    return Start(out, None)


def _fetched(earlier: str, recipe: "RecipeForm", lab_url: str, home: Path, folder: Path) -> Start:
    from archipel.blobs import BlobStore
    from archipel.node.operator import fetch_version
    from archipel.work.export import ExportFailed, write_version

    run, _, number = earlier.partition("@")
    if number and not number.isdecimal():
        raise Mendable(f"--from: got {earlier!r:.80}, expected RUN or RUN@VERSION, such as my@40")
    with mending(ExportFailed, OSError, ValueError):
        store, support = BlobStore(home / "blobs"), folder / "support"
        version = int(number) if number else None
        fetched = fetch_version(lab_url, store, run, version, support, weights=True)
        links, out = ask_lab(fetched), folder / "start"
        trains_adapter = getattr(recipe, "adapter", None) is not None
        write_version(links, support, out, merge=not trains_adapter)
    is_whole = (out / "config.json").is_file()
    return Start(out, None) if is_whole else Start(support, out)


def text_of_run(recipe: "RecipeForm", weights: Path) -> "Text | None":
    """The text that members of the run are given; None of a run that has none."""
    from archipel.node.opening import Text
    from archipel.records.recipe_pretrain import PretrainRecipe

    if not isinstance(recipe, PretrainRecipe):
        return None
    from archipel.work.opening import corpus_files, payload_bytes

    with mending(OSError, ValueError):
        files = corpus_files(recipe)
        return Text(tuple(files), tuple(files.values()), payload_bytes(recipe, weights))
