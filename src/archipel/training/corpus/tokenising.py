"""Documents into the bytes of a shard.

Parts: `Ids` (a tokenizer as a corpus uses it), `Task` (a shard to be made, as it is told to a child), `make_shard`.
Laws: a document is what the tokenizer puts before every text, its text without control tokens, and the end token
if there is one. A digest of the tokenizer is of the ids that it makes, not of how its file is written.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from archipel.model.tokenizer import Tokenizer, UnknownText, tokenizer_named
from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.corpus import MAX_SHARD_TOKENS, MAX_VOCABULARY, Shard, token_bytes
from archipel.training.corpus.shard import file_digest, write_shard
from archipel.training.corpus.sources import BadSource, Rules, text_at

NAMED = ("bytes", "characters")
"""Tokenizers that need no file, by the words of a recipe."""
PROBE = (
    "the quick brown fox jumps over 1234567890 lazy dogs",
    "Don't PANIC: it's 3.14159 (approximately), isn't it?  Two blanks,\ttab,\r\nlines.\n\n",
    "def f(x):\n    return {'a': [x] * 2}  # code",
    "na\u00efve caf\u00e9, nai\u0308ve; \u0434\u0430, \u65e5\u672c\u8a9e, \u0627\u0644\u0633\u0644\u0627\u0645, \ufb01, \U0001f468\u200d\U0001f469",
)
"""Texts that tokenizers with the same vocabulary and other rules cut in other ways."""


@dataclass(frozen=True)
class Ids:
    """A tokenizer, as a corpus uses it."""

    tokenizer: Tokenizer

    @classmethod
    def named(cls, where: str) -> Self:
        """Of a model directory, or `bytes`, or `characters`. Raises InvalidTokenizer."""
        if where in NAMED:
            return cls(tokenizer_named(cast(Any, where)))
        return cls(Tokenizer.from_directory(Path(where)))

    @cached_property
    def vocabulary(self) -> int:
        """Every id is less. Raises BadSource: it has more ids than a corpus takes."""
        ids = self.tokenizer.backend.get_vocab(with_added_tokens=True).values()
        largest = max(ids) + 1
        if largest > MAX_VOCABULARY:
            raise BadSource(f"got {largest} ids, expected at most {MAX_VOCABULARY}")
        return largest

    @cached_property
    def digest(self) -> str:
        """Of all tokens with their ids, of begin and end, and of how four texts are cut."""
        vocabulary = self.tokenizer.backend.get_vocab(with_added_tokens=True)
        told = hashlib.sha256()
        for token, index in sorted(vocabulary.items(), key=lambda each: (each[1], each[0])):
            told.update(f"{index} {len(token)} {token}\n".encode())
        said = {
            "form": "archipel.corpus-tokenizer.v1",
            "tokens": told.hexdigest(),
            "end": self.tokenizer.eos_id,
            "probe": [self._probed(text) for text in PROBE],
        }
        return sha256_digest(canonical_json(said))

    def _probed(self, text: str) -> list[int] | None:
        try:
            return self.tokenizer.encode_prompt(text)
        except UnknownText:
            return None

    def of(self, text: str) -> list[int]:
        """Ids of one document. Raises UnknownText."""
        ids = self.tokenizer.encode_prompt(text)
        end = self.tokenizer.eos_id
        return ids if end is None or ids[-1:] == [end] else [*ids, end]


@dataclass(frozen=True)
class Task:
    """A shard to be made."""

    path: Path
    """Of its file."""
    places: tuple[int, ...]
    """(number of the source, offset, size) of each document, one after the other."""
    text: str
    """What the plan read, see `records.corpus.Shard.text`."""

    def to_json(self) -> dict[str, Any]:
        """For a child."""
        return {"path": str(self.path), "places": self.places, "text": self.text}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Self:
        """What a parent said."""
        return cls(Path(said["path"]), tuple(said["places"]), said["text"])


def make_shard(task: Task, files: tuple[Path, ...], rules: Rules, ids: Ids) -> Shard:
    """Make the tokens and write the file.

    Raises:
        BadSource: a text that this tokenizer cannot express, a source that changed since it was planned, or
            more tokens than a shard may have.
        OSError: a source cannot be read, or the file cannot be written.
    """
    kind = np.dtype(f"<u{token_bytes(ids.vocabulary)}")
    parts: list[np.ndarray] = []
    texts, tokens = hashlib.sha256(), 0
    for path, offset, text in _texts(task, files, rules):
        texts.update(hashlib.sha256(text.encode()).digest())
        try:
            parts.append(np.array(ids.of(text), dtype=kind))
        except UnknownText as error:
            raise BadSource(
                f"{path}, byte {offset}: {error}; choose a tokenizer that expresses any text, such as bytes"
            ) from None
        tokens += len(parts[-1])
        if tokens > MAX_SHARD_TOKENS:
            raise BadSource(
                f"{task.path.name} has more than {MAX_SHARD_TOKENS} tokens; ask for smaller shards"
            )
    found = "sha256:" + texts.hexdigest()
    if found != task.text:
        raise BadSource(
            f"the text of {task.path.name} changed while the corpus was being made; leave the sources alone "
            "and call again"
        )
    ends = np.cumsum([len(part) for part in parts], dtype=np.uint64)
    write_shard(task.path, ends, np.concatenate(parts), (ids.digest, found))
    return shard_of(task.path, len(ends), tokens, found)


def shard_of(path: Path, documents: int, tokens: int, text: str) -> Shard:
    """What a manifest says of a file. Raises OSError."""
    return Shard(
        digest=file_digest(path),
        size=path.stat().st_size,
        tokens=tokens,
        documents=documents,
        text=text,
    )


def _texts(task: Task, files: tuple[Path, ...], rules: Rules) -> Iterator[tuple[Path, int, str]]:
    """Each source is opened once for the documents that follow one another in it."""
    threes = iter(task.places)
    pending = list(zip(threes, threes, threes, strict=True))
    place = 0
    while place < len(pending):
        source = pending[place][0]
        path = files[source]
        with path.open("rb") as file:
            while place < len(pending) and pending[place][0] == source:
                _, offset, size = pending[place]
                yield path, offset, text_at(file, path, (offset, size), rules)
                place += 1


def bytes_per_token(samples: Iterator[str], ids: Ids, sample_bytes: int) -> tuple[int, int]:
    """(bytes, tokens) of the first documents, so many bytes of them; what cannot be expressed is refused later."""
    seen = tokens = 0
    for text in samples:
        beginning = text[:sample_bytes]
        try:
            tokens += len(ids.of(beginning))
        except UnknownText:
            continue
        seen += len(beginning.encode())
        if seen >= sample_bytes:
            break
    return max(seen, 1), max(tokens, 1)
