"""Readers of a snapshot's files: its manifest and its tables."""

from typing import Final

from archipel.observatory.folder import parse_rows
from archipel.observatory.manifest import InvalidSnapshot, parse_manifest
from archipel.observatory.snapshot import lines_of
from fuzz.reading import Reader
from observed import count, maker, model, score, snapshot

TABLES: Final = ("models", "organisations", "counts", "scores")


def readers() -> dict[str, Reader]:
    """One for the manifest, one for rows of several tables."""
    made = snapshot(maker("a"), model("m"), model("n"), count("m", 5), score("n", 0.5))

    def rows(data: bytes) -> object:
        for name in TABLES:
            try:
                return parse_rows(name, data, data.count(b"\n"))
            except InvalidSnapshot:
                if name == TABLES[-1]:
                    raise
        return None

    tables = tuple(b"".join(lines_of(made.tables[name])) for name in TABLES)
    return {
        "manifests of snapshots": Reader(
            parse_manifest, (made.manifest.to_bytes(),), (InvalidSnapshot,)
        ),
        "rows of snapshots": Reader(rows, tables, (InvalidSnapshot,)),
    }
