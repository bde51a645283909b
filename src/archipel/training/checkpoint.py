"""Checkpoints that are whole or absent: one safetensors file each, written aside and renamed.

The file's metadata holds canonical JSON: facts, a digest over all tensors, and a digest over both. So
one file, named by its hash, can travel as a blob; a directory of them, `<number>.safetensors`, is
what a killed run resumes from. A kill at any moment leaves the previous checkpoint and at worst a
`.<name>.partial`, which the next write removes. Nothing is compressed: zstd takes 7% off fp32 masters
and moments, and a plain file's own size bounds what reading it allocates.
Law: no pickle; nothing in a file is used before its digest agrees.
"""

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from archipel.records.canonical import canonical_json, parse_canonical, sha256_digest

FORMAT = 2
MAX_HEADER_BYTES = 16 * 1024 * 1024
"""Upper bound on what precedes the tensors: names and shapes, a recipe and a model description."""
KEPT = 2
"""Checkpoints kept: the newest and one to fall back on."""
_KEY = "checkpoint"
_LENGTH_BYTES = 8
_DIGITS = 9
_NAME = re.compile(r"[0-9]{9}\.safetensors")

_log = logging.getLogger(__name__)


class NoCheckpoint(FileNotFoundError):
    """The directory holds no checkpoint that can be used; the message says why for each."""


class BadCheckpoint(ValueError):
    """One checkpoint is partial, corrupt or of another format."""


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: tensors by name, and the facts beside them."""

    number: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def write_checkpoint(
    directory: Path, number: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> Path:
    """Add a checkpoint to a directory and remove all but the newest; returns its file.

    Raises:
        OSError: the disk is full or not writable; earlier checkpoints are untouched.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for leftover in directory.glob(".*.partial"):
        leftover.unlink()
    path = checkpoint_file(directory, number)
    write_file(path, number, tensors, facts)
    for old in _numbered(directory)[:-KEPT]:
        old.unlink()
    return path


def checkpoint_file(directory: Path, number: int) -> Path:
    """Where `write_checkpoint` puts it."""
    return directory / f"{number:0{_DIGITS}d}.safetensors"


def write_file(
    path: Path, number: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> None:
    """Write one checkpoint and make it durable before it becomes visible.

    tensors: name -> CPU tensor. facts: canonical JSON values (no floats).

    Raises:
        OSError: the disk is full or not writable; a file that was at `path` is untouched.
    """
    body = {
        "format": FORMAT,
        "number": number,
        "facts": dict(facts),
        "tensors": _tensor_digest(tensors),
    }
    sealed = {"body": body, "digest": sha256_digest(canonical_json(body))}
    aside = path.with_name(f".{path.name}.partial")
    try:
        metadata = {_KEY: canonical_json(sealed).decode()}
        safetensors.torch.save_file(dict(tensors), aside, metadata)
        _flush(aside)
        aside.replace(path)
    except safetensors.SafetensorError as error:  # how the library reports a full disk
        raise OSError(f"cannot write {path}: {error}") from None
    finally:
        aside.unlink(missing_ok=True)
    _flush(path.parent)


def has_checkpoint(directory: Path) -> bool:
    """Whether anything was ever saved here, whole or not."""
    return bool(_numbered(directory))


def read_latest(directory: Path) -> Checkpoint:
    """The newest checkpoint whose digests fit.

    Raises:
        NoCheckpoint: there is none; the message lists what was refused and why.
    """
    refused = []
    for path in reversed(_numbered(directory)):
        try:
            return read_file(path)
        except BadCheckpoint as error:
            _log.warning("checkpoint refused: %s", error)
            refused.append(str(error))
    raise NoCheckpoint(f"no usable checkpoint in {directory}: {'; '.join(refused) or 'none found'}")


def latest_number(directory: Path) -> int:
    """Number of the checkpoint that `read_latest` would give; -1 when there is none."""
    try:
        return read_latest(directory).number
    except NoCheckpoint:
        return -1


def read_file(path: Path) -> Checkpoint:
    """Read one checkpoint; allocates no more than the file is long.

    Raises:
        BadCheckpoint: it is missing, cut short, altered, unparsable or of another format.
    """
    try:
        body = _read_body(path)
        tensors = safetensors.torch.load_file(path)
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise BadCheckpoint(f"{path} is not safetensors: {error}") from None
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        raise BadCheckpoint(f"{path} is not a checkpoint: {error!r:.200}") from None
    if body["format"] != FORMAT:
        raise BadCheckpoint(f"{path} has format {body['format']}, this version reads {FORMAT}")
    if _tensor_digest(tensors) != body["tensors"]:
        raise BadCheckpoint(f"the tensors of {path} do not have digest {body['tensors']}")
    return Checkpoint(body["number"], tensors, body["facts"])


def _read_body(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"header of {length} bytes; the limit is {MAX_HEADER_BYTES}")
        header = json.loads(file.read(length))
    sealed = parse_canonical(header["__metadata__"][_KEY].encode())
    body: dict[str, Any] = sealed["body"]
    if sha256_digest(canonical_json(body)) != sealed["digest"]:
        raise ValueError("its description does not fit its own digest")
    if body.keys() != {"format", "number", "facts", "tensors"}:
        raise ValueError("its description needs exactly format, number, facts and tensors")
    if type(body["number"]) is not int:
        raise ValueError("its number is not an integer")
    return body


def _tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """Over every name, type, shape and byte, whatever the order in the file."""
    return sha256_digest(
        canonical_json(
            [
                [name, str(tensor.dtype), list(tensor.shape), sha256_digest(_bytes(tensor))]
                for name, tensor in sorted(tensors.items())
            ]
        )
    )


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _numbered(directory: Path) -> list[Path]:
    """Checkpoint files, oldest first."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))


def _flush(path: Path) -> None:
    """Make a file's or directory's content survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
