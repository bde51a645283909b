"""Whether a folder is the corpus that its manifest names.

Parts: `verify_corpus`, `Verified`. Law: everything that is wrong is named, each with its file; nothing is mended.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from archipel.records.corpus import CorpusManifest, Shard
from archipel.training.corpus.folder import read_manifest, shard_names, strays
from archipel.training.corpus.shard import BadShard, file_digest, open_shard
from archipel.training.corpus.tokenising import Ids


@dataclass(frozen=True)
class Verified:
    """What was found."""

    manifest: CorpusManifest
    faults: tuple[str, ...]
    """Sentences; none when all is as it should be."""
    strays: tuple[str, ...]
    """Files that look like shards and are no part of it."""


def verify_corpus(folder: Path, ids: Ids | None, tell: Callable[[str], None]) -> Verified:
    """Look at every byte.

    ids: the tokenizer that the corpus is to fit; None: whatever it was made with.

    Raises:
        BadCorpus: the manifest itself is missing or none.
        OSError: something cannot be read.
    """
    manifest = read_manifest(folder)
    faults: list[str] = []
    if ids is not None and ids.digest != manifest.tokenizer:
        faults.append(
            f"the corpus was made with the tokenizer {manifest.tokenizer}, the one given is {ids.digest}; "
            "make the corpus again with it, or name the other"
        )
    names = shard_names(manifest)
    for name, shard in names.items():
        tell(f"looking at {name} of {len(names)}")
        fault = _fault(folder / name, shard, manifest)
        if fault is not None:
            faults.append(f"{name}: {fault}")
    return Verified(manifest, tuple(faults), tuple(strays(folder, set(names))))


def _fault(path: Path, shard: Shard, manifest: CorpusManifest) -> str | None:
    if not path.is_file():
        return "missing; the command that made the corpus makes it again"
    size = path.stat().st_size
    if size != shard.size:
        return f"got {size} bytes, expected {shard.size}; fetch it again"
    found = file_digest(path)
    if found != shard.digest:
        return f"corrupt: got {found}, expected {shard.digest}; fetch it again"
    try:
        opened = open_shard(path)
        opened.require_ids_below(manifest.vocabulary)
    except BadShard as error:
        return str(error).removeprefix(f"{path}: ")
    header = opened.header
    said = (header.tokens, header.documents, header.text, header.tokenizer, header.width)
    expected = (shard.tokens, shard.documents, shard.text, manifest.tokenizer, manifest.token_bytes)
    for what, got, wanted in zip(
        ("tokens", "documents", "text", "tokenizer", "bytes of a token"),
        said,
        expected,
        strict=True,
    ):
        if got != wanted:
            return f"its header says {what} {got}, the manifest {wanted}; the two were not made together"
    return None
