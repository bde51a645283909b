"""Which files of a model directory hold its weights, and what to say of a directory that has none.

Law: loads no tensor library; a name in an index cannot lead out of the directory.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipel.model.config_files import InvalidModel, what_is_there
from archipel.model.json_files import BadJsonFile, read_json_object

SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
MAX_INDEX_BYTES = 16 * 1024 * 1024
"""Largest model.safetensors.index.json that is read."""
MAX_SHARDS = 1024
MAX_HEADER_BYTES = 100 * 1024 * 1024
"""Largest table of contents of a safetensors file, as its own library bounds it."""
_SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")
_NAMES_OF_KINDS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a model directory; where both stand, the single file counts.

    Raises:
        InvalidModel: there are none, or the index is malformed or names other places.
    """
    if (path / SINGLE_FILE).is_file():
        return [path / SINGLE_FILE]
    index = path / INDEX_FILE
    if not index.is_file():
        raise InvalidModel(f"{path} has no {SINGLE_FILE}: {what_is_there(path)}")
    names = named_files(index)
    if missing := [name for name in names if not (path / name).is_file()]:
        raise InvalidModel(
            f"{index} names {len(names)} files, of which {len(missing)} are missing, first "
            f"{missing[0]}; fetch them too"
        )
    return [path / name for name in names]


def named_files(index: Path) -> list[str]:
    """The files that an index of weights names.

    Raises:
        InvalidModel: it is malformed, or names other places than its own folder.
    """
    try:
        weight_map = read_json_object(index, MAX_INDEX_BYTES).get("weight_map")
    except BadJsonFile as error:
        raise InvalidModel(str(error)) from None
    if not isinstance(weight_map, dict) or not weight_map:
        raise InvalidModel(f"{index} has no weight_map")
    names = sorted({str(name) for name in weight_map.values()})
    if len(names) > MAX_SHARDS:
        raise InvalidModel(f"{index} names {len(names)} files; the limit is {MAX_SHARDS}")
    for name in names:
        # The index comes from outside: a name with a separator would leave the directory.
        if not _SHARD_NAME.fullmatch(name):
            raise InvalidModel(f"{index} names {name!r:.80}; expected a plain .safetensors name")
    return names


def stored_kinds(path: Path) -> set[str]:
    """The kinds of numbers that the weights of a model directory are stored as, such as "float32".

    Raises:
        InvalidModel: there are no weights, or a file is not safetensors or is cut short.
    """
    kinds: set[str] = set()
    for file in weight_files(path):
        kinds |= {str(entry.get("dtype")) for entry in _entries(_header(file))}
    return {_NAMES_OF_KINDS.get(kind, kind) for kind in kinds}


def num_weights(path: Path) -> int:
    """How many numbers the weights of a model directory have, by its files' tables of contents.

    Raises:
        InvalidModel: as `stored_kinds`.
    """
    entries = [entry for file in weight_files(path) for entry in _entries(_header(file))]
    try:
        return sum(math.prod(map(int, entry["shape"])) for entry in entries)
    except (KeyError, TypeError, ValueError):
        raise InvalidModel(f"{path}: a tensor has no shape; fetch the weights again") from None


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor lies."""

    file: Path
    shape: tuple[int, ...]
    start: int
    """In bytes from the beginning of the file."""
    stop: int


def stored_tensors(path: Path) -> dict[str, Stored]:
    """Where each tensor of a model directory lies, by its files' tables of contents; no weight is read.

    Raises:
        InvalidModel: as `stored_kinds`; also of a tensor that is no bfloat16, or lies in other bytes than its shape needs.
    """
    found = {}
    for file in weight_files(path):
        with file.open("rb") as data:
            first = 8 + int.from_bytes(data.read(8), "little")
        for name, entry in _header(file).items():
            if name == "__metadata__":
                continue
            try:
                shape = tuple(map(int, entry["shape"]))
                start, stop = map(int, entry["data_offsets"])
            except (KeyError, TypeError, ValueError):
                raise InvalidModel(f"{file}: {name:.80} has no shape and place") from None
            if entry.get("dtype") != "BF16" or stop - start != 2 * math.prod(shape):
                raise InvalidModel(
                    f"{file}: {name:.80} is {entry.get('dtype')!r:.20} in {stop - start} bytes; expected BF16 of {shape}"
                )
            found[name] = Stored(file, shape, first + start, first + stop)
    return found


def rounding_note(path: Path) -> str | None:
    """What to tell somebody who opens a run with weights that its first version will round; None: nothing.

    Raises:
        InvalidModel: as `stored_kinds`.
    """
    kinds = stored_kinds(path) - {"bfloat16"}
    if not kinds:
        return None
    return (
        f"{path} holds {' and '.join(sorted(kinds))}; version 0 rounds it to bfloat16, and so is all "
        "that the run publishes and exports"
    )


def _header(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as data:
            size = int.from_bytes(data.read(8), "little")
            if size > MAX_HEADER_BYTES:
                raise ValueError(f"a header of {size} bytes")
            header = json.loads(data.read(size))
        end = max((entry["data_offsets"][1] for entry in _entries(header)), default=0)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InvalidModel(f"{file}: not readable as safetensors: {error!s:.200}") from None
    if (expected := 8 + size + end) != (got := file.stat().st_size):
        raise InvalidModel(f"{file} has {got} bytes; expected {expected}: fetch it again")
    return header


def _entries(header: dict[str, Any]) -> list[dict[str, Any]]:
    """What the header says of each tensor."""
    return [entry for name, entry in header.items() if name != "__metadata__"]
