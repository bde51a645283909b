"""The corpus of a bundle and its suffix array, kept beside the bundle and mapped into memory.

    <cache>/<key>/corpus      the texts          key: digest of everything in the bundle that they follow from
    <cache>/<key>/suffixes    4 bytes for each of its places
    <cache>/<key>/index.json  documents, what was left out, digests of the two

Law: made anew where anything of it is not as written; made whole beside its place, and renamed.
"""

import hashlib
import mmap
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.kept import Damaged, kept, read_kept
from archipel.release.oms.folder import file_sha256
from archipel.release.trace.corpus import Corpus, Document
from archipel.release.trace.suffixes import suffix_array
from archipel.release.trace.told import grounds
from archipel.release.verify.files import read_bounded
from archipel.release.verify.report import Tell

FORM = 1
MAX_HEADER_BYTES = 256 * 1024 * 1024
CORPUS, SUFFIXES, HEADER = "corpus", "suffixes", "index.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """An index that is open; use it inside its `with`."""

    digest: str
    """Of the corpus."""
    data: bytes
    """The corpus; mapped, which reads as bytes do."""
    suffixes: Sequence[int]
    documents: tuple[Document, ...]
    left_out: tuple[str, ...]


def key_of(folder: Path, files: Sequence[str]) -> str:
    """64 hexadecimal digits, of what a bundle's corpus follows from; its index names every blob by its digest."""
    digests = {each: file_sha256(folder / each)[0] for each in grounds(files)}
    told = {"form": FORM, "byteorder": sys.byteorder, "files": digests}
    return hashlib.sha256(canonical_json(told)).hexdigest()


def write_index(cache: Path, key: str, corpus: Corpus, tell: Tell) -> None:
    """Sort the corpus and keep it.

    Raises:
        OSError: the disk.
    """
    suffixes = suffix_array(corpus.data, tell).tobytes()
    told = {
        "form": FORM,
        "corpus": sha256_digest(corpus.data),
        "suffixes": sha256_digest(suffixes),
        "documents": [asdict(each) for each in corpus.documents],
        "left_out": list(corpus.left_out),
    }
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{key}.", suffix=".partial", dir=cache))
    try:
        (partial / CORPUS).write_bytes(corpus.data)
        (partial / SUFFIXES).write_bytes(suffixes)
        (partial / HEADER).write_bytes(kept(told, is_for_people=False))
        shutil.rmtree(cache / key, ignore_errors=True)
        partial.rename(cache / key)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def open_index(cache: Path, key: str) -> Iterator[Kept | None]:
    """None: it is not there, or not as it was written."""
    with ExitStack() as stack:
        try:
            held = _opened(cache / key, stack)
        except (OSError, ValueError, KeyError, TypeError):
            held = None
        yield held


def _opened(folder: Path, stack: ExitStack) -> Kept:
    told = read_kept(read_bounded(folder / HEADER, MAX_HEADER_BYTES), strict=True)
    for name in (CORPUS, SUFFIXES):
        digest, _ = file_sha256(folder / name)
        if told[name] != f"sha256:{digest}":
            raise Damaged(f"{folder / name} is not as it was written")
    corpus, suffixes = (_mapped(folder / name, stack) for name in (CORPUS, SUFFIXES))
    places_in = stack.enter_context(memoryview(suffixes))
    documents = (
        Document(**{**each, "groups": tuple(each["groups"])}) for each in told["documents"]
    )
    return Kept(
        told["corpus"],
        corpus,
        stack.enter_context(places_in.cast("I")),
        tuple(documents),
        tuple(told["left_out"]),
    )


def _mapped(path: Path, stack: ExitStack) -> bytes:
    """Mapped, which cuts and searches as bytes do; empty ones are not."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return b""
        held = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return cast("bytes", held)
