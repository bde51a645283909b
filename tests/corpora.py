"""Small corpora for tests: a text of our own, and how it is made into shards."""

from pathlib import Path

import numpy as np

from archipel.records.corpus import CorpusManifest, Counts, Shard, shard_size
from archipel.training.corpus.making import Made, Order, make_corpus
from archipel.training.corpus.shard import write_shard
from archipel.training.corpus.sources import Rules

DIGEST = "sha256:" + "ab" * 32
TOLD: list[str] = []
WORDS = ("sea", "island", "boat", "harbour", "wind", "night", "lamp", "salt", "rope", "tide")


def document(number: int) -> str:
    """Two or three lines; every eleventh comes twice."""
    number -= number % 11 == 10
    chosen = [WORDS[(number * step + step) % len(WORDS)] for step in (1, 3, 7, 9)]
    return (
        f"Number {number}: the {chosen[0]} and the {chosen[1]},\na {chosen[2]} for the {chosen[3]}."
    )


def write_text(path: Path, documents: int = 120) -> Path:
    """Documents with empty lines between them."""
    path.write_text("\n\n".join(document(number) for number in range(documents)) + "\n")
    return path


def order(source: Path, out: Path, **others: object) -> Order:
    """By bytes, some eight shards and one of held-out text."""
    settings: dict[str, object] = {
        "tokenizer": "bytes",
        "license": "CC0-1.0",
        "source": "written for this test",
        "rules": Rules("blank-lines"),
        "shard_tokens": 1000,
        "held_out_millionths": 100_000,
    }
    return Order(sources=(source,), out=out, **{**settings, **others})  # type: ignore[arg-type]


def made(source: Path, out: Path, **others: object) -> Made:
    """In this process."""
    return make_corpus(order(source, out, **others), TOLD.append, {})


def contents(folder: Path) -> dict[str, bytes]:
    """Of every file."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def shard_bytes(
    folder: Path, lengths: tuple[int, ...] = (5, 7, 1, 20), vocabulary: int = 50
) -> bytes:
    """A shard with documents of these many tokens."""
    path = folder / "shard-00000.tokens"
    tokens = (np.arange(sum(lengths)) * 7 % vocabulary).astype("<u2")
    write_shard(path, np.cumsum(lengths), tokens, (DIGEST, DIGEST))
    return path.read_bytes()


def manifest_of(*tokens: int) -> CorpusManifest:
    """With shards of so many tokens, which are nowhere."""
    return CorpusManifest(
        form=1,
        tokenizer=DIGEST,
        vocabulary=259,
        license="CC0-1.0",
        source="nowhere",
        held_out_millionths=0,
        counts=Counts(read=len(tokens), empty=0, duplicates=0, text_bytes=sum(tokens)),
        shards=tuple(
            Shard(digest=DIGEST, size=shard_size(each, 1, 2), tokens=each, documents=1, text=DIGEST)
            for each in tokens
        ),
    )
