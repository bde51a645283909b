"""`archipel corpus show`: what a corpus holds, and how far it lasts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.corpus_words import FOLDER, JSON, reading, said
from archipel.cli.doors import printable, show
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.records.corpus import CorpusManifest

POSITIVE = click.IntRange(1, 2**31)
SHOWN_SHARDS = 12


@click.command()
@FOLDER
@click.option(
    "--sequence-length",
    type=POSITIVE,
    help="Tokens that a window predicts: says how many windows and blocks there are.",
)
@click.option("--steps", default=1, show_default=True, type=POSITIVE, help="Inner steps of a work.")
@click.option("--batch", default=1, show_default=True, type=POSITIVE, help="Windows of a step.")
@click.option(
    "--members", default=1, show_default=True, type=POSITIVE, help="Contributions to a version."
)
@click.option("--epochs", default=1, show_default=True, type=POSITIVE, help="Passes over the text.")
@JSON
def command(
    folder: Path,
    sequence_length: int | None,
    steps: int,
    batch: int,
    members: int,
    epochs: int,
    as_json: bool,
) -> None:
    """Show what CORPUS holds by its manifest; with a sequence length also how many outer steps it lasts.

    \b
    Examples:
      archipel corpus show corpus
      archipel corpus show corpus --sequence-length 512 --steps 30 --batch 16 --members 8
      archipel corpus show corpus --json
    """
    with reading():
        from archipel.training.corpus.assignment import BlockTerms, blocks_in, versions_in
        from archipel.training.corpus.folder import read_manifest

        manifest = read_manifest(folder)
        lasting: dict[str, int] = {}
        if sequence_length is not None:
            terms = BlockTerms(sequence_length, steps, batch, members, epochs)
            lasting = {
                "windows": sum(each.windows(sequence_length) for each in manifest.shards),
                "blocks": blocks_in(manifest, terms),
                "outer_steps": versions_in(manifest, terms),
            }
    show(
        {**said(manifest, folder), **lasting},
        as_json,
        lambda: printable("\n".join(_words(manifest, lasting, epochs))),
    )


def _words(manifest: "CorpusManifest", lasting: dict[str, Any], epochs: int) -> list[str]:
    counts = manifest.counts
    lines = [
        manifest.digest,
        f"  text       {manifest.source} ({manifest.license})",
        f"  tokenizer  {manifest.tokenizer}, {manifest.vocabulary:,} ids",
        f"  documents  {counts.read:,} read, {counts.empty:,} empty, {counts.duplicates:,} duplicates dropped; "
        f"{counts.text_bytes:,} bytes of text",
        f"  tokens     {manifest.tokens:,} in {counted(len(manifest.shards), 'shard')} of {manifest.token_bytes} bytes a token",
    ]
    if manifest.held_out:
        held = sum(each.tokens for each in manifest.held_out)
        lines.append(f"  held out   {held:,} tokens in {counted(len(manifest.held_out), 'shard')}")
    if lasting:
        lines.append(
            f"  lasts      {lasting['windows']:,} windows, {lasting['blocks']:,} blocks an epoch: "
            f"{counted(lasting['outer_steps'], 'outer step')} in {counted(epochs, 'epoch')}"
        )
    for number, shard in enumerate(manifest.shards[:SHOWN_SHARDS]):
        lines.append(
            f"  shard {number:5d}  {shard.tokens:>12,} tokens {shard.documents:>9,} documents  {shard.digest[:19]}"
        )
    if len(manifest.shards) > SHOWN_SHARDS:
        lines.append(f"  and {len(manifest.shards) - SHOWN_SHARDS} more")
    return lines
