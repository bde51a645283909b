"""A snapshot's folder: written once, read with every digest checked.

    snapshot.json     the manifest, canonical JSON: name, day, sources, and of every table its file, digest and rows
    models.jsonl ...  a table: one row a line, canonical JSON, ascending ids

Laws: what is read is what was written, or `InvalidSnapshot` says where not; a folder is written whole or not at all
and never over another; reading is bounded.
"""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from archipel.observatory.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    MAX_ROWS,
    InvalidSnapshot,
    Manifest,
    TableEntry,
    file_of,
    first_fault,
    parse_manifest,
)
from archipel.observatory.rows import TABLES, Row
from archipel.observatory.snapshot import MAX_LINE_BYTES, Snapshot, checked, lines_of
from archipel.records.canonical import parse_canonical, sha256_digest

MAX_TABLE_BYTES = 512 * 1024 * 1024


def write(snapshot: Snapshot, folder: Path) -> None:
    """Write it as `folder`, which does not exist yet; interrupted, nothing stands there.

    Raises:
        InvalidSnapshot: something is there already.
        OSError: the disk.
    """
    if folder.is_symlink() or folder.exists():
        raise InvalidSnapshot(
            f"{folder} is there already, and a snapshot is never written over; name a new folder"
        )
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        for name, entry in snapshot.manifest.tables.items():
            _put(beside / entry.file, lines_of(snapshot.tables[name]))
        _put(beside / MANIFEST, (snapshot.manifest.to_bytes(),))
        beside.rename(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def read(folder: Path) -> Snapshot:
    """The snapshot in `folder`, every digest, row and reference checked.

    Raises:
        InvalidSnapshot: it is none; names the file and the line.
    """
    manifest = read_manifest(folder)
    tables: dict[str, tuple[Row, ...]] = {}
    for name in TABLES:
        entry = manifest.tables.get(name)
        tables[name] = () if entry is None else read_table(name, _bytes(folder, entry), entry)
    return checked(Snapshot(manifest, tables))


def read_manifest(folder: Path) -> Manifest:
    """`snapshot.json` alone: what a folder says of itself.

    Raises:
        InvalidSnapshot: there is none, or it is no manifest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InvalidSnapshot(f"{folder} has no {MANIFEST}; expected the folder of a snapshot")
    with path.open("rb") as file:
        return parse_manifest(file.read(MAX_MANIFEST_BYTES + 1))


def read_table(name: str, data: bytes, entry: TableEntry) -> tuple[Row, ...]:
    """The rows of a table from its file's bytes.

    Raises:
        InvalidSnapshot: other bytes than the manifest's digest, a line that is no row, ids that do not ascend.
    """
    if sha256_digest(data) != entry.sha256:
        raise InvalidSnapshot(
            f"{entry.file} has other bytes than {MANIFEST} says ({entry.sha256}); "
            "fetch the snapshot again"
        )
    return parse_rows(name, data, entry.rows)


def parse_rows(name: str, data: bytes, count: int) -> tuple[Row, ...]:
    """`count` rows of the table `name`, whoever wrote them.

    Raises:
        InvalidSnapshot: as of `read_table`, but for the digest.
    """
    found: list[Row] = []
    lines = data.split(b"\n", MAX_ROWS + 1)
    if lines.pop() != b"" or len(lines) != count:
        raise InvalidSnapshot(f"{file_of(name)} has not {count} whole lines, as {MANIFEST} says")
    for number, line in enumerate(lines, 1):
        where = f"{file_of(name)}, line {number}"
        if len(line) > MAX_LINE_BYTES:
            raise InvalidSnapshot(f"{where}: {len(line)} bytes; at most {MAX_LINE_BYTES}")
        try:
            parse_canonical(line)
            row = TABLES[name].model_validate_json(line)
        except ValidationError as error:
            raise InvalidSnapshot(f"{where}: {first_fault(error)}") from None
        except ValueError as error:
            raise InvalidSnapshot(f"{where}: {error!s:.200}") from None
        if found and row.id.encode() <= found[-1].id.encode():
            raise InvalidSnapshot(
                f"{where}: id {row.id!r:.80} stands after {found[-1].id!r:.80}; ids ascend, each once"
            )
        found.append(row)
    return tuple(found)


def _bytes(folder: Path, entry: TableEntry) -> bytes:
    path = folder / entry.file
    if not path.is_file():
        raise InvalidSnapshot(f"{path} is missing; {MANIFEST} names it")
    if (size := path.stat().st_size) > MAX_TABLE_BYTES:
        raise InvalidSnapshot(f"{path} has {size} bytes; at most {MAX_TABLE_BYTES}")
    with path.open("rb") as file:
        return file.read(MAX_TABLE_BYTES)


def _put(path: Path, parts: Iterable[bytes]) -> None:
    with path.open("xb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
