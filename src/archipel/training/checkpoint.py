"""Checkpoints that are whole or absent: a directory per number, written aside and renamed.

Layout: `<directory>/<number>/` with one safetensors file per tensor group and `checkpoint.json`,
canonical JSON that names each file's size and SHA-256 and is itself covered by a digest.
A kill at any moment leaves the previous checkpoint and at worst a `.partial-*` directory, which the
next write removes. Reading refuses anything whose digests do not fit and falls back on the one before.
Law: no pickle; a file is hashed before it is parsed.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical, sha256_digest

FORMAT = 1
FACTS_FILE = "checkpoint.json"
MAX_FACTS_BYTES = 4 * 1024 * 1024
"""Upper bound on checkpoint.json: names, digests, a recipe and a model description."""
KEPT = 2
"""Checkpoints kept: the newest and one to fall back on."""
_DIGITS = 9
_CHUNK_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)


class NoCheckpoint(FileNotFoundError):
    """The directory holds no checkpoint that can be used; the message says why for each."""


class BadCheckpoint(ValueError):
    """One checkpoint is partial, corrupt or of another format."""


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: tensors by file and name, and the facts beside them."""

    number: int
    tensors: dict[str, dict[str, Tensor]]
    facts: dict[str, Any]


def write_checkpoint(
    directory: Path,
    number: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    facts: Mapping[str, Any],
) -> Path:
    """Write a checkpoint and make it durable before it becomes visible; returns its place.

    tensors: file stem -> name -> CPU tensor. facts: canonical JSON values (no floats).

    Raises:
        OSError: the disk is full or not writable; earlier checkpoints are untouched.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for leftover in directory.glob(".partial-*"):
        shutil.rmtree(leftover)
    partial = directory / f".partial-{number:0{_DIGITS}d}"
    partial.mkdir()
    files = {}
    for stem, group in tensors.items():
        path = partial / f"{stem}.safetensors"
        safetensors.torch.save_file(dict(group), path)
        _flush(path)
        files[path.name] = {"bytes": path.stat().st_size, "digest": _file_digest(path)}
    body = {"format": FORMAT, "number": number, "files": files, "facts": dict(facts)}
    sealed = {"body": body, "digest": sha256_digest(canonical_json(body))}
    (partial / FACTS_FILE).write_bytes(canonical_json(sealed))
    _flush(partial / FACTS_FILE)
    _flush(partial)
    return _publish(partial, directory, number)


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
            return read_checkpoint(path)
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


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint directory.

    Raises:
        BadCheckpoint: a file is missing, altered, unparsable or of another format.
    """
    body = _read_body(path)
    tensors = {}
    for name, entry in body["files"].items():
        file = path / name
        if not file.is_file() or file.stat().st_size != entry["bytes"]:
            raise BadCheckpoint(f"{file} is missing or not {entry['bytes']} bytes long")
        if _file_digest(file) != entry["digest"]:
            raise BadCheckpoint(f"{file} does not have digest {entry['digest']}")
        try:
            tensors[file.stem] = safetensors.torch.load_file(file)
        except safetensors.SafetensorError as error:
            raise BadCheckpoint(f"{file} is not safetensors: {error}") from None
    return Checkpoint(body["number"], tensors, body["facts"])


def _read_body(path: Path) -> dict[str, Any]:
    file = path / FACTS_FILE
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FACTS_BYTES + 1)
        if len(data) > MAX_FACTS_BYTES:
            raise BadCheckpoint(f"{file} is larger than {MAX_FACTS_BYTES} bytes")
        sealed = parse_canonical(data)
        body = sealed["body"]
        if sha256_digest(canonical_json(body)) != sealed["digest"]:
            raise BadCheckpoint(f"{file} does not fit its own digest")
    except OSError as error:
        raise BadCheckpoint(f"{file} cannot be read: {error.strerror}") from None
    except (NotCanonical, TypeError, KeyError) as error:
        raise BadCheckpoint(f"{file} is not a checkpoint description: {error}") from None
    if body["format"] != FORMAT:
        raise BadCheckpoint(f"{file} has format {body['format']}, this version reads {FORMAT}")
    return body


def _numbered(directory: Path) -> list[Path]:
    """Checkpoint directories, oldest first."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if path.name.isdecimal() and path.is_dir())


def _publish(partial: Path, directory: Path, number: int) -> Path:
    place = directory / f"{number:0{_DIGITS}d}"
    if place.exists():
        # Left by a run that was resumed from an older number; the same work gave it, or it is bad.
        shutil.rmtree(place)
    partial.rename(place)
    _flush(directory)
    for old in _numbered(directory)[:-KEPT]:
        shutil.rmtree(old)
    return place


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _flush(path: Path) -> None:
    """Make a file's or directory's content survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
