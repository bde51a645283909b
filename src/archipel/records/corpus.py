"""The manifest of a corpus: text as token shards, whose digest names the corpus.

Parts: `Shard` (one file of tokens), `Counts` (what became of the documents), `CorpusManifest`.
Laws: a manifest says nothing that its shards cannot be held against; how many windows there are follows from
the sequence length at use, and is not in it. The size of a shard follows from its counts.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical, sha256_digest
from archipel.records.fields import Closed, Count, Digest

FORM = 1
MAX_SHARDS = 65_536
MAX_SHARD_TOKENS = 2**28
"""A gibibyte of four-byte tokens; a corpus of the most and largest shards has 17 trillion."""
MAX_SHARD_DOCUMENTS = 2**24
MAX_VOCABULARY = 2**24
MAX_MANIFEST_BYTES = 32 * 2**20
MAX_SOURCE_CHARACTERS = 2000
HEADER_BYTES = 128
END_BYTES = 8
"""Of a document's end, in a shard."""
SMALL_VOCABULARY = 2**16
"""Up to so many ids a token takes two bytes, else four."""
MILLION = 1_000_000

License = Annotated[str, Field(pattern=r"^[A-Za-z0-9(][A-Za-z0-9.+:() -]{0,199}$")]
"""An SPDX expression, such as `CC0-1.0`, `MIT OR Apache-2.0` or `LicenseRef-own`."""


class BadCorpus(ValueError):
    """A manifest, shard or folder that is not what a corpus is made of."""


class Shard(Closed):
    """One file of tokens."""

    digest: Digest
    size: Count
    """Bytes of the file."""
    tokens: Annotated[int, Field(ge=1, le=MAX_SHARD_TOKENS)]
    documents: Annotated[int, Field(ge=1, le=MAX_SHARD_DOCUMENTS)]
    text: Digest
    """SHA-256 over the SHA-256 of each document's UTF-8, in order."""

    def windows(self, sequence_length: int) -> int:
        """Windows of sequence_length + 1 tokens: each begins with the last token of the one before."""
        return (self.tokens - 1) // sequence_length


class Counts(Closed):
    """What became of what was read."""

    read: Count
    """Documents."""
    empty: Count
    """Left out: nothing but white space."""
    duplicates: Count
    """Left out: the same text, byte for byte, came before."""
    text_bytes: Count
    """UTF-8 of the documents that stayed, held-out ones included."""


class CorpusManifest(Closed):
    """What a corpus is."""

    form: Literal[1]
    tokenizer: Digest
    """Of the ids that it makes (`training.corpus.tokenising`)."""
    vocabulary: Annotated[int, Field(ge=1, le=MAX_VOCABULARY)]
    """Every token is less."""
    license: License
    source: Annotated[str, Field(min_length=1, max_length=MAX_SOURCE_CHARACTERS)]
    """Where the text is from, in its maker's words."""
    held_out_millionths: Annotated[int, Field(ge=0, lt=MILLION)]
    """Share of documents, by the hash of their text, that nothing is trained on."""
    counts: Counts
    shards: Annotated[tuple[Shard, ...], Field(min_length=1, max_length=MAX_SHARDS)]
    held_out: Annotated[tuple[Shard, ...], Field(max_length=MAX_SHARDS)] = ()

    @model_validator(mode="after")
    def _sizes_follow(self) -> Self:
        for shard in (*self.shards, *self.held_out):
            expected = shard_size(shard.tokens, shard.documents, self.token_bytes)
            if shard.size != expected:
                raise ValueError(
                    f"a shard of {shard.tokens} tokens and {shard.documents} documents has {expected} bytes, "
                    f"not {shard.size}"
                )
            if shard.documents > shard.tokens:
                raise ValueError(
                    f"{shard.documents} documents do not fit into {shard.tokens} tokens"
                )
        return self

    @property
    def token_bytes(self) -> int:
        """Bytes of a token in every shard: 2 or 4."""
        return token_bytes(self.vocabulary)

    @property
    def tokens(self) -> int:
        """To be trained on."""
        return sum(shard.tokens for shard in self.shards)

    @property
    def digest(self) -> str:
        """The name of the corpus."""
        return sha256_digest(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            BadCorpus: too long, not canonical, or not a manifest of this form.
        """
        if len(data) > MAX_MANIFEST_BYTES:
            raise BadCorpus(
                f"the manifest has {len(data)} bytes, expected at most {MAX_MANIFEST_BYTES}; "
                "make larger shards"
            )
        try:
            parse_canonical(data)
            return cls.model_validate_json(data)
        except NotCanonical as error:
            raise BadCorpus(f"the manifest is not one that was written here: {error}") from None
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in fault["loc"]) or "manifest"
            raise BadCorpus(
                f"the manifest is none of form {FORM}: {where}: {fault['msg']}"
            ) from None


def token_bytes(vocabulary: int) -> int:
    """Bytes of a token where there are so many ids."""
    return 2 if vocabulary <= SMALL_VOCABULARY else 4


def shard_size(tokens: int, documents: int, width: int) -> int:
    """Bytes of a shard's file. width: of a token."""
    return HEADER_BYTES + END_BYTES * documents + width * tokens
