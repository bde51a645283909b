"""Files of text into documents: each document is a stretch of bytes of one file, read again when its tokens are made.

Parts: `Rules` (what a document is), `Document`, `source_files`, `documents_in`, `text_at`.
JSON lines (`.jsonl`, `.ndjson`): a line is a document, its text stands in one field. Any other file is
plain text: the file is one document, or empty lines separate documents.
Law: nothing is guessed: bytes that are no UTF-8, a line without the field and a document beyond the bound are
refused with their place.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from archipel.records.corpus import BadCorpus

MAX_DOCUMENT_BYTES = 8 * 2**20
"""A document is in memory whole, and a tokenizer takes some 210 bytes a token beside it: 1.8 GB, token by byte."""
MAX_SOURCES = 65_536
JSON_LINES = (".jsonl", ".ndjson")

DocumentRule = Literal["file", "blank-lines"]


class BadSource(BadCorpus):
    """A source that cannot be read as it was asked to be."""


@dataclass(frozen=True)
class Rules:
    """What a document is."""

    documents: DocumentRule = "file"
    """Of plain text."""
    field: str = "text"
    """Of JSON lines: where a line's text stands."""


@dataclass(frozen=True)
class Document:
    """Where it stands, and what it says."""

    offset: int
    """Bytes before it in its file."""
    size: int
    """Bytes that it takes there."""
    text: str


def source_files(sources: tuple[Path, ...]) -> tuple[Path, ...]:
    """Files as they were given; a folder stands for all files in and below it, sorted by their path.

    Raises:
        BadSource: one is not there, a folder is empty, or there are more than `MAX_SOURCES`.
    """
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            inside = sorted(
                path
                for path in source.rglob("*")
                if path.is_file()
                and not any(p.startswith(".") for p in path.relative_to(source).parts)
            )
            if not inside:
                raise BadSource(f"{source} has no files; name a file or a folder with some")
            found += inside
        elif source.is_file():
            found.append(source)
        else:
            raise BadSource(f"{source} is no file and no folder; name one that is there")
    if len(found) > MAX_SOURCES:
        raise BadSource(
            f"got {len(found)} source files, expected at most {MAX_SOURCES}; join some of them"
        )
    return tuple(found)


def documents_in(path: Path, rules: Rules) -> Iterator[Document]:
    """All documents of one file, empty ones included, in order.

    Raises:
        BadSource: see the law above.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        for offset, raw in _stretches(file, path, rules):
            yield Document(offset, len(raw), _text(raw, path, offset, rules))


def text_at(file: BinaryIO, path: Path, place: tuple[int, int], rules: Rules) -> str:
    """The text of the document at (offset, size) of an open file. Raises BadSource, OSError."""
    offset, size = place
    file.seek(offset)
    return _text(file.read(size), path, offset, rules)


def is_json_lines(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in JSON_LINES


def _stretches(file: BinaryIO, path: Path, rules: Rules) -> Iterator[tuple[int, bytes]]:
    if is_json_lines(path):
        for offset, line in _lines(file, path):
            if line.strip():
                yield offset, line
    elif rules.documents == "file":
        raw = file.read(MAX_DOCUMENT_BYTES + 1)
        yield 0, _bounded(raw, path, 0)
    else:
        yield from _between_blank_lines(file, path)


def _between_blank_lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """The line end that an empty line follows belongs to no document."""
    begin, held = 0, bytearray()
    for offset, line in _lines(file, path):
        if line.strip():
            begin = begin if held else offset
            held += line
            _bounded(held, path, begin)
        elif held:
            yield begin, bytes(held).rstrip(b"\r\n")
            held.clear()
    if held:
        yield begin, bytes(held).rstrip(b"\r\n")


def _lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while line := file.readline(MAX_DOCUMENT_BYTES + 1):
        yield offset, _bounded(line, path, offset)
        offset += len(line)


def _bounded(raw: bytes | bytearray, path: Path, offset: int) -> bytes:
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise BadSource(
            f"{path}, byte {offset}: a document of more than {MAX_DOCUMENT_BYTES} bytes; "
            "separate its parts by empty lines and say so, or cut the file"
        )
    return raw  # type: ignore[return-value]  # what holds lines grows in place


def _text(raw: bytes, path: Path, offset: int, rules: Rules) -> str:
    try:
        if not is_json_lines(path):
            return raw.decode("utf-8")
        line = json.loads(raw)
    except UnicodeDecodeError as error:
        raise BadSource(
            f"{path}, byte {offset + error.start}: not UTF-8 ({error.reason}); convert the file"
        ) from None
    except (ValueError, RecursionError) as error:
        raise BadSource(f"{path}, byte {offset}: not a line of JSON: {error}") from None
    text = line.get(rules.field) if isinstance(line, dict) else None
    if not isinstance(text, str):
        known = ", ".join(map(repr, list(line)[:8])) if isinstance(line, dict) else "no object"
        raise BadSource(
            f"{path}, byte {offset}: expected text in {rules.field!r:.60}, got {known:.200}; "
            "name the field that has the text"
        )
    if any("\ud800" <= each <= "\udfff" for each in text):
        raise BadSource(f"{path}, byte {offset}: half of a surrogate pair is no text; take it out")
    return text
