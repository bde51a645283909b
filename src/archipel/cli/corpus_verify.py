"""`archipel corpus verify`: look at every byte of a corpus."""

from pathlib import Path

import click

from archipel.cli.corpus_words import (
    FOLDER,
    JSON,
    ids_at,
    reading,
    said,
    tokenizer_options,
    where_of,
)
from archipel.cli.doors import Mendable, printable, show
from archipel.plurals import counted

SHOWN_FAULTS = 20


@click.command()
@FOLDER
@tokenizer_options("that the corpus is to fit")
@JSON
def command(folder: Path, model: Path | None, tokenizer: str | None, as_json: bool) -> None:
    """Check CORPUS against its manifest: every digest, every count, every token within the vocabulary.

    With --model or --tokenizer also whether its tokens are that tokenizer's. Exit code 1: something is wrong.

    \b
    Examples:
      archipel corpus verify corpus
      archipel corpus verify corpus --model start
      archipel corpus verify corpus --tokenizer bytes --json
    """
    with reading() as tell:
        from archipel.training.corpus.verifying import verify_corpus

        is_named = model is not None or tokenizer is not None
        ids = ids_at(where_of(model, tokenizer)) if is_named else None
        found = verify_corpus(folder, ids, tell)
    manifest = found.manifest
    result = {
        **said(manifest, folder),
        "whole": not found.faults,
        "faults": list(found.faults),
        "strays": list(found.strays),
    }
    number = len(manifest.shards) + len(manifest.held_out)
    lines = [f"{folder}: {counted(number, 'shard')} looked at, {manifest.digest}"]
    lines += [f"  {fault}" for fault in found.faults[:SHOWN_FAULTS]]
    lines += [f"  {name} is no part of it" for name in found.strays[:SHOWN_FAULTS]]
    show(result, as_json, lambda: printable("\n".join(lines)))
    if found.faults:
        raise Mendable(f"{counted(len(found.faults), 'fault')} in {folder}: {found.faults[0]}")
