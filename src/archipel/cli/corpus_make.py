"""`archipel corpus make`: token shards and a manifest from text files and JSON lines."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from archipel.cli.corpus_words import JSON, reading, said, tokenizer_options, where_of
from archipel.cli.doors import child_environment, printable, show
from archipel.plurals import counted

if TYPE_CHECKING:
    from archipel.training.corpus.making import Made, Order

MAX_PROCESSES = 64
MAX_SHARD_TOKENS = 2**27
"""Half of what a shard may have: the option's number is about right, not exact."""
MILLION = 1_000_000


@click.command()
@click.argument(
    "sources",
    metavar="SOURCE...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True),
)
@tokenizer_options("that makes the tokens")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to make; one that was begun is gone on with.",
)
@click.option(
    "--license", "license_", required=True, metavar="SPDX", help="Of the text, such as CC0-1.0."
)
@click.option(
    "--source", "origin", required=True, metavar="TEXT", help="Where the text is from, in words."
)
@click.option(
    "--documents",
    default="file",
    show_default=True,
    type=click.Choice(["file", "blank-lines"]),
    help="What a document of a plain text is: the whole file, or what empty lines separate.",
)
@click.option(
    "--field",
    default="text",
    show_default=True,
    help="Of JSON lines (.jsonl, .ndjson): where a line's text stands.",
)
@click.option(
    "--shard-tokens",
    default=2**24,
    show_default=True,
    type=click.IntRange(16, MAX_SHARD_TOKENS),
    help="Tokens of a shard, about; a longer document has a shard of its own.",
)
@click.option(
    "--held-out",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0.0, 1.0, max_open=True),
    help="Share of the documents, chosen by their text, that stands in shards nothing is trained on.",
)
@click.option(
    "--keep-duplicates", is_flag=True, help="Keep documents whose text came before [dropped]."
)
@click.option(
    "--processes",
    default=1,
    show_default=True,
    type=click.IntRange(1, MAX_PROCESSES),
    help="How many shards are made at a time; the bytes are the same.",
)
@JSON
def command(
    sources: tuple[Path, ...],
    model: Path | None,
    tokenizer: str | None,
    out: Path,
    license_: str,
    origin: str,
    documents: str,
    field: str,
    shard_tokens: int,
    held_out: float,
    keep_duplicates: bool,
    processes: int,
    as_json: bool,
) -> None:
    """Make a corpus of SOURCE: text files, files of JSON lines, or folders of them.

    The same sources and options give the same bytes, whatever --processes. After Ctrl-C, a full disk or a crash the same
    command goes on: a shard that is whole is not made again.

    \b
    Examples:
      archipel corpus make books --model start --out corpus --license CC0-1.0 --source "Project Gutenberg"
      archipel corpus make a.jsonl b.jsonl --field body --tokenizer bytes --out corpus --license MIT --source forum
      archipel corpus make plays.txt --documents blank-lines --held-out 0.01 --tokenizer bytes --out corpus --license CC0-1.0 --source plays
    """
    with reading() as tell:
        from archipel.training.corpus.making import Order, make_corpus
        from archipel.training.corpus.sources import Rules

        order = Order(
            sources=sources,
            tokenizer=where_of(model, tokenizer),
            out=out,
            license=license_,
            source=origin,
            rules=Rules(cast(Any, documents), field),
            shard_tokens=shard_tokens,
            held_out_millionths=min(round(held_out * MILLION), MILLION - 1),
            is_keeping_duplicates=keep_duplicates,
            processes=processes,
        )
        made = make_corpus(order, tell, child_environment())
    result = {
        **said(made.manifest, out),
        "shards_made": made.num_made,
        "shards_kept": made.num_kept,
    }
    show(result, as_json, lambda: printable(_words(made, order)))


def _words(made: "Made", order: "Order") -> str:
    manifest, counts = made.manifest, made.manifest.counts
    stayed = sum(each.documents for each in (*manifest.shards, *manifest.held_out))
    held = sum(each.tokens for each in manifest.held_out)
    lines = [
        f"{order.out}: {manifest.tokens:,} tokens in {counted(len(manifest.shards), 'shard')}"
        + (f", {held:,} held out in {len(manifest.held_out)}" if held else ""),
        f"  {counted(counts.read, 'document')} read, {counts.empty} empty, {counts.duplicates} duplicates dropped, {stayed} kept",
        f"  {made.num_made} of the shards made now, {made.num_kept} were there",
        f"  {manifest.digest}",
    ]
    return "\n".join(lines)
