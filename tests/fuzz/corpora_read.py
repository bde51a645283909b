"""Readers of what a corpus is made of and made into."""

import tempfile
from pathlib import Path

from archipel.records.corpus import BadCorpus, CorpusManifest
from archipel.training.corpus.shard import BadShard, read_shard
from archipel.training.corpus.sources import BadSource, Rules, documents_in
from corpora import manifest_of, shard_bytes
from fuzz.reading import Reader

LINES = b'{"text": "one\\n"}\n\n{"id": 3, "text": "\\u00e9 two", "more": [1]}\n'


def _documents(name: str, rules: Rules, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        for document in documents_in(path, rules):
            document.text.encode()


def _shard() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return shard_bytes(Path(folder))


def readers() -> dict[str, Reader]:
    """One for each."""
    return {
        "manifests of a corpus": Reader(
            CorpusManifest.from_bytes, (manifest_of(300, 40).to_bytes(),), (BadCorpus,)
        ),
        "shards": Reader(
            lambda data: read_shard(data).require_ids_below(50), (_shard(),), (BadShard,)
        ),
        "JSON lines of a corpus": Reader(
            lambda data: _documents("a.jsonl", Rules(), data), (LINES,), (BadSource,)
        ),
        "plain text of a corpus": Reader(
            lambda data: _documents("a.txt", Rules("blank-lines"), data),
            (b"one\nand more\n\n\ntwo\r\n \r\nthree",),
            (BadSource,),
        ),
    }
