"""Which documents go into which shard: one pass over the sources, without a tokenizer.

Parts: `Cut` (how large, what is held out), `Planned` (a shard to be), `Plan`, `plan_shards`.
Laws: the plan follows from the sources and the cut alone. Whether a document is held out follows from its
text, so the same text is on the same side wherever it comes from; a document is whole in one shard.
"""

import hashlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from archipel.records.corpus import MAX_SHARD_DOCUMENTS, MAX_SHARDS, MILLION, BadCorpus, Counts
from archipel.training.corpus.sources import BadSource, Document, Rules, documents_in

_HELD_OUT = b"archipel.corpus.held-out.v1\x00"
MAX_DOCUMENTS = 2**26
"""Their hashes are held while shards are planned: some 100 bytes each."""


@dataclass(frozen=True)
class Cut:
    """How documents are dealt out."""

    shard_bytes: int
    """A shard takes documents while their UTF-8 stays within this; a longer one has a shard of its own."""
    held_out_millionths: int = 0
    is_keeping_duplicates: bool = False


@dataclass
class Planned:
    """A shard to be made."""

    name: str
    """Of its file."""
    places: "array[int]" = field(default_factory=lambda: array("Q"))
    """(number of the source, offset, size) of each document, one after the other."""
    text_bytes: int = 0
    _texts: "hashlib._Hash" = field(default_factory=hashlib.sha256, repr=False)

    def add(self, source: int, document: Document, digest: bytes, text_bytes: int) -> None:
        """One more at its end."""
        self.places.extend((source, document.offset, document.size))
        self._texts.update(digest)
        self.text_bytes += text_bytes

    @property
    def documents(self) -> int:
        """How many."""
        return len(self.places) // 3

    @property
    def text(self) -> str:
        """See `records.corpus.Shard.text`."""
        return "sha256:" + self._texts.hexdigest()


@dataclass(frozen=True)
class Plan:
    """All shards, in order, and what was counted."""

    shards: tuple[Planned, ...]
    held_out: tuple[Planned, ...]
    counts: Counts


def text_digest(text: bytes) -> bytes:
    """Of one document's UTF-8."""
    return hashlib.sha256(text).digest()


def is_held_out(digest: bytes, millionths: int) -> bool:
    """Whether nothing is trained on the document with this `text_digest`."""
    drawn = int.from_bytes(hashlib.sha256(_HELD_OUT + digest).digest()[:8], "big")
    return drawn * MILLION < millionths << 64


class _Side:
    """Shards of documents that are trained on, or of those that are held out."""

    def __init__(self, prefix: str, shard_bytes: int) -> None:
        self._prefix, self._shard_bytes = prefix, shard_bytes
        self.shards: list[Planned] = []

    def add(self, source: int, document: Document, digest: bytes, text_bytes: int) -> None:
        last = self.shards[-1] if self.shards else None
        if (
            last is None
            or last.text_bytes + text_bytes > self._shard_bytes
            or last.documents == MAX_SHARD_DOCUMENTS
        ):
            if len(self.shards) == MAX_SHARDS:
                raise BadCorpus(f"more than {MAX_SHARDS} shards; make larger ones")
            last = Planned(f"{self._prefix}-{len(self.shards):05d}.tokens")
            self.shards.append(last)
        last.add(source, document, digest, text_bytes)


def plan_shards(
    files: tuple[Path, ...], rules: Rules, cut: Cut, tell: Callable[[str], None]
) -> Plan:
    """Read everything once.

    Raises:
        BadCorpus: nothing is left to train on, or a bound is passed; BadSource: see `sources`.
        OSError: a file cannot be read.
    """
    sides = (_Side("shard", cut.shard_bytes), _Side("held-out", cut.shard_bytes))
    seen: set[bytes] = set()
    read = empty = duplicates = 0
    for source, document in _all(files, rules):
        read += 1
        if not document.text.strip():
            empty += 1
            continue
        encoded = document.text.encode()
        digest = text_digest(encoded)
        if not cut.is_keeping_duplicates:
            if digest in seen:
                duplicates += 1
                continue
            seen.add(digest)
        side = sides[is_held_out(digest, cut.held_out_millionths)]
        side.add(source, document, digest, len(encoded))
        if read % 1000 == 0:
            tell(f"reading {files[source].name}: {read} documents so far")
    shards, held_out = (tuple(side.shards) for side in sides)
    if not shards:
        raise BadCorpus(
            f"nothing is left to train on of {read} documents ({empty} empty, "
            f"{sum(each.documents for each in held_out)} held out); give more text, or hold less out"
        )
    text_bytes = sum(each.text_bytes for each in (*shards, *held_out))
    counts = Counts(read=read, empty=empty, duplicates=duplicates, text_bytes=text_bytes)
    return Plan(shards, held_out, counts)


def _all(files: tuple[Path, ...], rules: Rules) -> Iterator[tuple[int, Document]]:
    number = 0
    for source, path in enumerate(files):
        for document in documents_in(path, rules):
            number += 1
            if number > MAX_DOCUMENTS:
                raise BadSource(f"more than {MAX_DOCUMENTS} documents; make several corpora")
            yield source, document
