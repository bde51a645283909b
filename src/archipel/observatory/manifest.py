"""`snapshot.json`: what a snapshot says of itself, its sources and its tables.

Laws: closed, canonical JSON, bounded; a table's file is called after it and lies beside the manifest.
"""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from archipel.observatory.rows import TABLES, Day, Id, Text, Unknown, Word
from archipel.records.canonical import canonical_json, parse_canonical
from archipel.records.fields import Closed, Count, Digest

MANIFEST: Final = "snapshot.json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_SOURCES = 10_000
MAX_ROWS = 1_000_000
"""Of one table: every model on Hugging Face in 2025 has room."""


class InvalidSnapshot(ValueError):
    """What is no snapshot, or cannot be written as one; the message says what was found and what was expected."""


class Source(Closed):
    """Where facts come from."""

    id: Id
    title: Text
    url: Text
    retrieved: Day
    """When it was read."""
    hand: Literal["read", "second-hand"]
    """The page itself was read, or somebody's words about it."""
    licence: Text | Unknown
    note: Annotated[str, Field(max_length=2000)] = ""


class TableEntry(Closed):
    """A table's file."""

    file: Annotated[str, Field(max_length=64)]
    sha256: Digest
    rows: Annotated[int, Field(ge=0, le=MAX_ROWS)]


class Manifest(Closed):
    """`snapshot.json`."""

    form: Literal[1] = 1
    name: Word
    day: Day
    """The facts are as of this day; none is known later."""
    made_at_ms: Count
    """Unix milliseconds."""
    made_from: Annotated[tuple[Digest, ...], Field(max_length=64)] = ()
    """Digests of snapshots whose rows it took over."""
    sources: Annotated[tuple[Source, ...], Field(max_length=MAX_SOURCES)]
    tables: dict[str, TableEntry]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))


def parse_manifest(data: bytes) -> Manifest:
    """A manifest from its bytes.

    Raises:
        InvalidSnapshot: too large, not canonical, not closed, or it names other tables or files than there are.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidSnapshot(
            f"{MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes; split the snapshot"
        )
    try:
        parse_canonical(data)
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise InvalidSnapshot(f"{MANIFEST}: {first_fault(error)}") from None
    except ValueError as error:
        raise InvalidSnapshot(f"{MANIFEST}: {error!s:.200}") from None
    for name, entry in manifest.tables.items():
        if name not in TABLES or entry.file != file_of(name):
            raise InvalidSnapshot(
                f"{MANIFEST} names table {name!r:.40} as {entry.file!r:.60}; "
                f"expected one of {listed(TABLES)}, as NAME.jsonl"
            )
    ids = [source.id for source in manifest.sources]
    if ids != sorted(set(ids)):
        raise InvalidSnapshot(f"{MANIFEST}: sources do not have ascending ids, each once")
    return manifest


def file_of(name: str) -> str:
    """Of a table."""
    return f"{name}.jsonl"


def listed(names: Iterable[str]) -> str:
    """For a sentence."""
    return ", ".join(names)


def first_fault(error: ValidationError) -> str:
    """The first fault, in a sentence: where, and what was expected."""
    fault = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in fault["loc"]) or "the whole"
    return f"{where:.80}: {fault['msg']:.200}, got {fault['input']!r:.80}"
