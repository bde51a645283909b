"""A folder of a few files as one blob: a tenant's state, an adapter in PEFT's layout.

Parts: `pack_folder`, `unpack_folder`. Laws: equal files are equal bytes, in the order of their names; a blob's reader is told
which names may come, and nothing of it is believed before the whole of its table holds; an unpacked folder appears whole or
not at all.
Source: the layout is that of safetensors, each file a tensor of bytes.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

MAX_FILES = 16
MAX_TABLE_BYTES = 16 * 1024
CHUNK_BYTES = 1024 * 1024
_LENGTH = 8
_FORM = {"format": "archipel.folder.v1"}


class BadFolder(ValueError):
    """A folder or blob that holds other files than expected; the message says which."""


def pack_folder(folder: Path, blob: Path) -> None:
    """Write all files of `folder` as one.

    Raises:
        BadFolder: it holds something else than a few plain files.
        OSError: the disk.
    """
    files = sorted(folder.iterdir())
    if not 0 < len(files) <= MAX_FILES or any(f.is_symlink() or not f.is_file() for f in files):
        raise BadFolder(f"{folder.name} holds other things than 1 to {MAX_FILES} plain files")
    table, end = {}, 0
    for file in files:
        size = file.stat().st_size
        table[file.name] = {"dtype": "U8", "shape": [size], "data_offsets": [end, end + size]}
        end += size
    header = json.dumps({"__metadata__": _FORM, **table}, separators=(",", ":")).encode()
    with blob.open("wb") as out:
        out.write(len(header).to_bytes(_LENGTH, "little") + header)
        for file in files:
            with file.open("rb") as source:
                shutil.copyfileobj(source, out, CHUNK_BYTES)


def unpack_folder(blob: Path, names: frozenset[str], folder: Path) -> None:
    """Make `folder` of what `pack_folder` wrote, durably; there must be none yet.

    names: of files that may be there.

    Raises:
        BadFolder: it is no such blob, or has another file, or a folder is there already.
        OSError: the disk.
    """
    if folder.exists():
        raise BadFolder(f"{folder.name} is there already; name a new folder")
    aside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        with blob.open("rb") as source:
            for name, size in _table(source, blob.stat().st_size, names):
                _copy(source, aside / name, size)
        _sync(aside)
        aside.rename(folder)
        _sync(folder.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _table(source: BinaryIO, total: int, names: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Names and sizes of the files, in the order in which their bytes follow. Raises BadFolder."""
    length = int.from_bytes(source.read(_LENGTH), "little")
    if not 0 < length <= min(MAX_TABLE_BYTES, total - _LENGTH):
        raise BadFolder(f"a table of {length} bytes in a blob of {total}; expected a packed folder")
    try:
        header: Any = json.loads(source.read(length))
    except (ValueError, RecursionError):
        raise BadFolder("the table is no JSON; expected a packed folder") from None
    if not isinstance(header, dict) or header.pop("__metadata__", None) != _FORM:
        raise BadFolder(f"the table is of another format; expected {_FORM['format']}")
    found, end = [], 0
    for name, entry in header.items():
        if name not in names:
            raise BadFolder(f"a file {name!r:.60}; expected of {', '.join(sorted(names))}")
        size = _size(entry, end)
        found.append((name, size))
        end += size
    if _LENGTH + length + end != total:
        raise BadFolder(f"files of {end} bytes in {total - _LENGTH - length}; send it whole")
    return iter(found)


def _size(entry: object, start: int) -> int:
    if isinstance(entry, dict):
        shape = entry.get("shape")
        size = shape[0] if isinstance(shape, list) and len(shape) == 1 else None
        if type(size) is int and size >= 0:
            expected = {"dtype": "U8", "shape": [size], "data_offsets": [start, start + size]}
            if entry == expected:
                return size
    raise BadFolder(f"a file is said to be {entry!r:.80}; expected bytes from {start} on")


def _copy(source: BinaryIO, path: Path, size: int) -> None:
    with path.open("xb") as out:
        while size:
            chunk = source.read(min(size, CHUNK_BYTES))
            if not chunk:
                raise BadFolder("the blob ends in the middle of a file")
            out.write(chunk)
            size -= len(chunk)
        out.flush()
        os.fsync(out.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
