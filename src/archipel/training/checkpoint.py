"""Checkpoints that are whole or absent: one safetensors file each, written aside and renamed.

The file's metadata holds canonical JSON: facts, a digest over all tensors, and a digest over both. So
one file, named by its hash, can travel as a blob; a directory of them, `<number>.safetensors`, is
what a killed run resumes from. A kill at any moment leaves the previous checkpoint and at worst a
`.<name>.partial`, which the next write removes. Nothing is compressed: zstd takes 7% off fp32 masters
and moments, and a plain file's own size bounds what reading it allocates.
Law: no pickle; nothing in a file is used before its digest agrees: which checkpoint is the newest is said
by descriptions, tensors are hashed once, when they are loaded, and a file that then turns out damaged
is set aside, so that the next answer is another.
"""

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
DAMAGED = ".damaged"
"""Suffix of a file that was set aside; the next write removes it."""
DESCRIBED = "checkpoint"
"""Key of a file's metadata."""
_LENGTH_BYTES = 8
_DIGITS = 9
_NAME = re.compile(r"[0-9]{9}\.safetensors")

_log = logging.getLogger(__name__)


class NoCheckpoint(FileNotFoundError):
    """The directory holds no checkpoint that can be used; the message says why for each."""


class BadCheckpoint(ValueError):
    """One checkpoint is partial, corrupt or of another format."""


class DamagedCheckpoint(BadCheckpoint):
    """Its bytes are not those that were written; reading them again gives the same."""


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: tensors by name, and the facts beside them."""

    number: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def write_checkpoint(
    directory: Path,
    number: int,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    kept: int = KEPT,
) -> Path:
    """Add a checkpoint to a directory and remove all but the newest `kept`; returns its file.

    Raises:
        OSError: the disk is full or not writable; earlier checkpoints are untouched.
    """
    path = prepared(directory, number)
    write_file(path, number, tensors, facts)
    remove_old(directory, kept)
    return path


def prepared(directory: Path, number: int) -> Path:
    """The place of a checkpoint in a directory that holds nothing that was cut short. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    for leftover in _leftovers(directory):
        leftover.unlink()
    return checkpoint_file(directory, number)


def remove_old(directory: Path, kept: int = KEPT) -> None:
    """All but the newest `kept`. Raises OSError."""
    for old in _numbered(directory)[:-kept]:
        old.unlink()


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
    metadata = {DESCRIBED: described(number, facts, digest_of(tensors))}
    try:
        with placed(path) as aside:
            safetensors.torch.save_file(dict(tensors), aside, metadata)
    except safetensors.SafetensorError as error:  # how the library reports a full disk
        raise OSError(f"cannot write {path}: {error}") from None


def described(number: int, facts: Mapping[str, Any], tensors: str) -> str:
    """What a file says of itself. tensors: the digest over all of them."""
    body = {"format": FORMAT, "number": number, "facts": dict(facts), "tensors": tensors}
    return canonical_json({"body": body, "digest": sha256_digest(canonical_json(body))}).decode()


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """Where to write what is durable and stands at `path` afterwards; nothing does if writing fails. Raises OSError."""
    aside = path.with_name(f".{path.name}.partial")
    try:
        yield aside
        flush(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    flush(path.parent)


def has_checkpoint(directory: Path) -> bool:
    """Whether anything was ever saved here, whole or not."""
    return bool(_numbered(directory))


def remove_checkpoints(directory: Path) -> None:
    """Remove what was saved here, leftovers included, and the folder if nothing else is in it.

    Raises:
        OSError: a file cannot be removed.
    """
    for path in (*_numbered(directory), *_leftovers(directory)):
        path.unlink()
    with contextlib.suppress(OSError):
        directory.rmdir()


def read_latest(directory: Path) -> Checkpoint:
    """The newest checkpoint whose digests fit; a newer one that is damaged is set aside (`.damaged`).

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
            if isinstance(error, DamagedCheckpoint):
                with suppress(FileNotFoundError):  # another rank was faster
                    path.replace(path.with_suffix(DAMAGED))
    raise NoCheckpoint(f"no usable checkpoint in {directory}: {'; '.join(refused) or 'none found'}")


def latest_number(directory: Path) -> int:
    """Number of the newest checkpoint that says what it is and is as long as it says; -1 for none.

    No tensor is read, however large the model: the one that `read_latest` gives, unless its tensors are
    damaged, which `read_latest` finds out.
    """
    for path in reversed(_numbered(directory)):
        try:
            number: int = _described(path)["number"]
        except BadCheckpoint as error:
            _log.warning("checkpoint passed over: %s", error)
        else:
            return number
    return -1


def saved_facts(directory: Path) -> dict[int, dict[str, Any]]:
    """Facts by number, the newest first, of checkpoints that say what they are and are as long as they say. No tensor is read."""
    found = {}
    for path in reversed(_numbered(directory)):
        try:
            body = _described(path)
        except BadCheckpoint as error:
            _log.warning("checkpoint passed over: %s", error)
        else:
            found[int(body["number"])] = dict(body["facts"])
    return found


def read_file(path: Path) -> Checkpoint:
    """Read one checkpoint; allocates no more than the file is long.

    Raises:
        BadCheckpoint: it is missing, cut short, altered, unparsable or of another format.
    """
    body = _described(path)
    with _reading(path):
        tensors = safetensors.torch.load_file(path)
    if digest_of(tensors) != body["tensors"]:
        raise DamagedCheckpoint(f"the tensors of {path} do not have digest {body['tensors']}")
    return Checkpoint(body["number"], tensors, body["facts"])


def _described(path: Path) -> dict[str, Any]:
    """What a file says of itself, under its own digest; it is as long as its header says."""
    with _reading(path):
        body = _read_body(path)
        with safetensors.safe_open(path, "pt"):  # compares the length; reads no tensor
            pass
    if body["format"] != FORMAT:
        raise BadCheckpoint(f"{path} has format {body['format']}, this version reads {FORMAT}")
    return body


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read: {error.strerror or error}") from None
    except safetensors.SafetensorError as error:
        raise DamagedCheckpoint(f"{path} is not safetensors: {error}") from None
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        raise DamagedCheckpoint(f"{path} is not a checkpoint: {error!r:.200}") from None


def _read_body(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"header of {length} bytes; the limit is {MAX_HEADER_BYTES}")
        header = json.loads(file.read(length))
    sealed = parse_canonical(header["__metadata__"][DESCRIBED].encode())
    body: dict[str, Any] = sealed["body"]
    if sha256_digest(canonical_json(body)) != sealed["digest"]:
        raise ValueError("its description does not fit its own digest")
    if body.keys() != {"format", "number", "facts", "tensors"}:
        raise ValueError("its description needs exactly format, number, facts and tensors")
    if type(body["number"]) is not int:
        raise ValueError("its number is not an integer")
    return body


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Over every name, type, shape and byte, whatever the order in the file."""
    return digest_of_lines([line_of(name, tensor) for name, tensor in tensors.items()])


def line_of(name: str, tensor: Tensor) -> list[Any]:
    """What stands of one tensor in the digest over all."""
    return [name, str(tensor.dtype), list(tensor.shape), sha256_digest(tensor_bytes(tensor))]


def digest_of_lines(lines: Iterable[list[Any]]) -> str:
    """Of all tensors, by the line of each."""
    return sha256_digest(canonical_json(sorted(lines, key=lambda line: str(line[0]))))


def tensor_bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _numbered(directory: Path) -> list[Path]:
    """Checkpoint files, oldest first."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if _NAME.fullmatch(path.name))


def _leftovers(directory: Path) -> list[Path]:
    """Files of writes that were cut short, and of checkpoints that turned out damaged."""
    return [*directory.glob(".*.partial"), *directory.glob(f"*{DAMAGED}")]


def flush(path: Path) -> None:
    """Make a file's or directory's content survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
