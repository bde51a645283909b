"""What the commands of `archipel corpus` share: options, progress, and what a corpus is in words."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from archipel.cli.doors import mending
from archipel.cli.telling import Tell, seldom

if TYPE_CHECKING:
    from archipel.records.corpus import CorpusManifest
    from archipel.training.corpus.tokenising import Ids

C = TypeVar("C", bound=Callable[..., Any])

JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")
FOLDER = click.argument(
    "folder", metavar="CORPUS", type=click.Path(path_type=Path, exists=True, file_okay=False)
)


def tokenizer_options(what: str) -> Callable[[C], C]:
    """--model and --tokenizer, one of which names the tokenizer `what` says."""

    def both(command: C) -> C:
        named = click.option(
            "--tokenizer",
            metavar="DIR|bytes|characters",
            help=f"Folder with the tokenizer.json {what}, or one that needs no file.",
        )
        of_model = click.option(
            "--model",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help=f"Model directory with the tokenizer {what}.",
        )
        return of_model(named(command))

    return both


def where_of(model: Path | None, tokenizer: str | None) -> str:
    """Where the tokenizer is that one of the two options names; of a model, if its network has a row for every id."""
    if (model is None) == (tokenizer is None):
        raise click.UsageError("name the tokenizer: either --model or --tokenizer")
    if model is None:
        return str(tokenizer)
    from archipel.records.corpus import BadCorpus

    ids, rows = ids_at(str(model)), _rows(model)
    if rows is not None and ids.vocabulary > rows:
        raise BadCorpus(
            f"{model}: its tokenizer has {ids.vocabulary} ids and its network {rows}; the two do not belong together"
        )
    return str(model)


def ids_at(where: str) -> "Ids":
    """The tokenizer of a folder, or one by its name."""
    from archipel.training.corpus.tokenising import Ids

    return Ids.named(where)


def _rows(model: Path) -> int | None:
    """Rows of the network's embedding, by its config.json; None where it says nothing of that."""
    from archipel.model.json_files import read_json_object

    rows = read_json_object(model / "config.json").get("vocab_size")
    return rows if isinstance(rows, int) else None


@contextmanager
def reading() -> Iterator[Tell]:
    """What people can mend ends as one sentence; progress is said every few seconds."""
    with mending(ValueError, OSError):
        yield seldom()


def said(manifest: "CorpusManifest", folder: Path) -> dict[str, Any]:
    """For machines."""
    return {
        "corpus": str(folder),
        "digest": manifest.digest,
        "license": manifest.license,
        "source": manifest.source,
        "tokenizer": manifest.tokenizer,
        "vocabulary": manifest.vocabulary,
        "tokens": manifest.tokens,
        "shards": len(manifest.shards),
        "held_out_tokens": sum(each.tokens for each in manifest.held_out),
        "held_out_shards": len(manifest.held_out),
        "documents": sum(each.documents for each in manifest.shards),
        "held_out_documents": sum(each.documents for each in manifest.held_out),
        **manifest.counts.model_dump(),
    }
