"""A shard: one file of tokens with the ends of its documents, which a machine maps instead of reading it.

    magic "APCORPUS" · form u16 · bytes of a token u16 · 0 u32 · tokens u64 · documents u64
    · tokenizer, text, body: 32 bytes of SHA-256 each          header, 128 bytes
    ends of documents, u64 each: tokens before the document's end
    tokens, u16 or u32 each                                    all little-endian

Parts: `ShardHeader`, `TokenShard`, `write_shard`, `read_shard` (from bytes), `open_shard` (from a file).
Laws: lengths are looked at before anything is believed of them. The header's own digests tell an interrupted
make whether the file is whole and of which text; what names a shard elsewhere is the digest of the file.
"""

import hashlib
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archipel.records.corpus import (
    END_BYTES,
    FORM,
    HEADER_BYTES,
    MAX_SHARD_DOCUMENTS,
    MAX_SHARD_TOKENS,
    BadCorpus,
    shard_size,
)

MAGIC = b"APCORPUS"
_HEADER = struct.Struct("<8sHHIQQ32s32s32s")
_TYPES: dict[int, np.dtype[Any]] = {2: np.dtype("<u2"), 4: np.dtype("<u4")}


class BadShard(BadCorpus):
    """Bytes that are no shard of this form."""


@dataclass(frozen=True)
class ShardHeader:
    """What stands before the tokens."""

    width: int
    """Bytes of a token."""
    tokens: int
    documents: int
    tokenizer: str
    text: str
    body: str
    """Digest of all that comes after the header."""

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return shard_size(self.tokens, self.documents, self.width)


@dataclass(frozen=True)
class TokenShard:
    """An open shard; both arrays are views of its bytes, read-only."""

    header: ShardHeader
    ends: np.ndarray
    """uint64 [documents], ascending; the last is the number of tokens."""
    tokens: np.ndarray
    """uint16 or uint32 [tokens]."""

    def require_ids_below(self, vocabulary: int) -> None:
        """Raises BadShard: some token is no id of a vocabulary of this size."""
        largest = int(self.tokens.max())
        if largest >= vocabulary:
            raise BadShard(
                f"token {largest} is beyond the vocabulary of {vocabulary} ids; the shard was made with another tokenizer"
            )


def write_shard(path: Path, ends: np.ndarray, tokens: np.ndarray, names: tuple[str, str]) -> None:
    """Write a file and make it durable before it has its name.

    ends, tokens: as in `TokenShard`. names: digests of the tokenizer and of the text.

    Raises:
        OSError: no room, or not writable; what was at `path` is untouched and nothing is left beside it.
    """
    ends, width = ends.astype("<u8"), tokens.dtype.itemsize
    body = hashlib.sha256(ends.data)
    body.update(tokens.data)
    raw = (bytes.fromhex(name.removeprefix("sha256:")) for name in names)
    header = _HEADER.pack(MAGIC, FORM, width, 0, len(tokens), len(ends), *raw, body.digest())
    aside = path.with_name(f"{path.name}.partial")
    try:
        with aside.open("wb") as file:
            for part in (header, ends.data, tokens.data):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def read_header(data: bytes, size: int) -> ShardHeader:
    """The header of a file of `size` bytes that begins with `data`.

    Raises:
        BadShard: it is none of this form, or says another size.
    """
    if len(data) < HEADER_BYTES:
        raise BadShard(f"got {size} bytes, expected a header of {HEADER_BYTES}; fetch it again")
    magic, form, width, zero, tokens, documents, *digests = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise BadShard(f"it begins with {magic!r}, which no shard does; expected {MAGIC!r}")
    if form != FORM or zero != 0 or width not in _TYPES:
        raise BadShard(
            f"form {form} with tokens of {width} bytes is not known here, expected form {FORM} with 2 or 4; "
            "make the corpus with this release, or read it with the one that made it"
        )
    if not 1 <= tokens <= MAX_SHARD_TOKENS or not 1 <= documents <= MAX_SHARD_DOCUMENTS:
        raise BadShard(
            f"{tokens} tokens in {documents} documents: expected 1 to {MAX_SHARD_TOKENS} in 1 to {MAX_SHARD_DOCUMENTS}"
        )
    names = tuple("sha256:" + each.hex() for each in digests)
    header = ShardHeader(width, tokens, documents, *names)
    if size != header.size:
        raise BadShard(f"got {size} bytes, expected {header.size} by its header; fetch it again")
    return header


def read_shard(data: bytes | mmap.mmap) -> TokenShard:
    """A shard over these bytes, which are kept, not copied.

    Raises:
        BadShard: they are none.
    """
    header = read_header(data[:HEADER_BYTES], len(data))
    ends = np.frombuffer(data, "<u8", header.documents, HEADER_BYTES)
    place = HEADER_BYTES + END_BYTES * header.documents
    tokens = np.frombuffer(data, _TYPES[header.width], header.tokens, place)
    if (
        int(ends[0]) == 0
        or int(ends[-1]) != header.tokens
        or not bool(np.all(ends[1:] > ends[:-1]))
    ):
        raise BadShard(
            f"its documents do not end in ascending order at its {header.tokens} tokens; fetch it again"
        )
    return TokenShard(header, ends, tokens)


@contextmanager
def mapped(path: Path) -> Iterator[bytes | mmap.mmap]:
    """The bytes of a file, which are not read until they are looked at."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield b""
            return
        # It is closed with the last array that looks at it.
        yield mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def open_shard(path: Path) -> TokenShard:
    """Map a file.

    Raises:
        BadShard: it is no shard.
        OSError: it cannot be read.
    """
    with mapped(path) as data:
        try:
            return read_shard(data)
        except BadShard as error:
            raise BadShard(f"{path}: {error}") from None


def file_digest(path: Path) -> str:
    """Of all bytes of a file. Raises OSError."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(path: Path, header: ShardHeader) -> bool:
    """Whether the bytes after the header are those that it has the digest of. Raises OSError."""
    with path.open("rb") as file:
        file.seek(HEADER_BYTES)
        return header.body == "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
