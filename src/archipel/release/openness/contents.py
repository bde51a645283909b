"""What a file really holds: weights, code, data, a document, or nothing of the kind its name promises.

Laws: nothing is run, unpickled or followed; every reading is bounded; a file that is not what it is called is a
fault, and whoever asks hears which.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from archipel.release.openness.code_files import look_at_archive, look_at_python
from archipel.release.openness.data_files import (
    BadFile,
    look_at_json,
    look_at_lines,
    look_at_text,
    look_at_toml,
)
from archipel.release.openness.tensor_files import look_at_safetensors
from archipel.release.places import BLOBS, GIVEN_AWAY, blob_place

Holds = Literal["weights", "code", "data", "document", "setting", "unknown"]
CHUNK_BYTES = 1024 * 1024
POINTER: Final = b"version https://git-lfs"
MIN_DOCUMENT_WORDS = 40
"""A document of fewer is a heading, not a card: our convention, three sentences."""
MIN_PDF_BYTES = 1024
PICKLES: Final = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"})
OTHER_CODE: Final = frozenset(
    {
        *(".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".rs", ".go", ".js", ".ts", ".mjs"),
        *(".java", ".jl", ".sh", ".bash", ".swift", ".php", ".sql", ".ipynb", ".cfg", ".j2"),
    }
)
DOCUMENTS: Final = frozenset({".md", ".rst", ".tex", ".html", ".htm", ".cff", ".bib"})
MAGICS: Final = {
    ".parquet": b"PAR1", ".arrow": b"ARROW1", ".npy": b"\x93NUMPY", ".gz": b"\x1f\x8b", ".bz2": b"BZh",
    ".zst": b"\x28\xb5\x2f\xfd", ".xz": b"\xfd7zXZ", ".zip": b"PK", ".gguf": b"GGUF", ".npz": b"PK",
}  # fmt: skip
"""How files begin that are not read further."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen in a file."""

    holds: frozenset[Holds]
    fault: str | None = None
    """Why it is not what it is called."""
    remark: str | None = None


def look(folder: Path, place: str) -> Look:
    """Look into the file at `place`, relative to `folder`."""
    path = folder / place
    if path.is_symlink():
        return Look(frozenset(), "a link, which is not followed: a release holds files")
    try:
        with path.open("rb") as file:
            start = file.read(CHUNK_BYTES)
        if not start and path.suffix != ".py":
            return Look(frozenset(), "empty")
        if start.startswith(POINTER):
            return Look(frozenset(), "a pointer of Git LFS, not the file")
        if place.startswith(f"{BLOBS}/"):
            return _blob(path, place)
        if place == GIVEN_AWAY:
            return Look(frozenset({"data"}))  # a secret is any bytes
        return _by_name(path, start)
    except BadFile as error:
        return Look(frozenset(), str(error))
    except OSError as error:
        return Look(frozenset(), f"cannot be read: {error.strerror}")


def digest_of(path: Path) -> str:
    """SHA-256 of a file, `sha256:` and 64 digits.

    Raises:
        OSError: it cannot be read.
    """
    held = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            held.update(chunk)
    return f"sha256:{held.hexdigest()}"


def _blob(path: Path, place: str) -> Look:
    if blob_place(digest_of(path)) != place:
        raise BadFile("its bytes are not those that its name promises")
    return Look(frozenset({"weights", "data", "document"}))


def _by_name(path: Path, start: bytes) -> Look:
    ending = path.suffix.lower()
    name = path.name.lower()
    if ending in PICKLES:
        return Look(
            frozenset({"unknown"}),
            remark="a pickle or the like: opening it may run its code, so nobody looked inside",
        )
    if name.endswith((".tar.gz", ".tgz", ".whl", ".zip", ".tar")):
        return _archive(path)
    if ending in MAGICS:
        return _begins(ending, start)
    if ending in {".py", ".pyi"}:
        return _python(path)
    for endings, held, check in _CHECKS:
        if ending in endings:
            remark = check(path)
            return Look(held, remark=remark)
    if ending == ".pdf":
        if not start.startswith(b"%PDF-") or path.stat().st_size < MIN_PDF_BYTES:
            raise BadFile("no PDF")
        return Look(frozenset({"document"}))
    if ending == "" or ending == ".lock":
        look_at_text(path, 1)
        return Look(frozenset({"setting", "data"}))
    return Look(frozenset({"unknown"}), remark=f"of a kind ({ending}) that nobody looked into")


def _begins(ending: str, start: bytes) -> Look:
    if not start.startswith(MAGICS[ending]):
        raise BadFile(f"does not begin as {ending} files do")
    held: Holds = "weights" if ending == ".gguf" else "data"
    return Look(frozenset({held}), remark="only its beginning was looked at")


def _archive(path: Path) -> Look:
    files = look_at_archive(path)
    if files:
        return Look(frozenset({"code", "data"}))
    return Look(frozenset({"data"}), remark="an archive without Python in it")


def _python(path: Path) -> Look:
    """A file of a docstring alone is a package's sign: no fault, and no code."""
    count = look_at_python(path)
    if count is None:
        return Look(frozenset({"code"}), remark="too large to be parsed here")
    return Look(frozenset({"code"} if count else {"setting"}))


def _document(path: Path) -> str | None:
    return look_at_text(path, MIN_DOCUMENT_WORDS)


def _text(path: Path) -> str | None:
    return look_at_text(path, 1)


_CHECKS: Final[
    tuple[tuple[frozenset[str], frozenset[Holds], Callable[[Path], str | None]], ...]
] = (
    (frozenset({".safetensors"}), frozenset({"weights"}), look_at_safetensors),
    (frozenset({".jsonl", ".ndjson"}), frozenset({"data", "document"}), look_at_lines),
    (frozenset({".json", ".jsonld"}), frozenset({"data", "setting", "document"}), look_at_json),
    (frozenset({".toml"}), frozenset({"data", "setting"}), look_at_toml),
    (DOCUMENTS, frozenset({"document"}), _document),
    (frozenset({".txt", ".text"}), frozenset({"data", "document", "setting"}), _text),
    (
        frozenset({".csv", ".tsv", ".yml", ".yaml"}),
        frozenset({"data", "setting", "document"}),
        _text,
    ),
    (OTHER_CODE, frozenset({"code"}), _text),
)
