"""A checkpoint in parts: every rank of a site writes what it holds, and any number of ranks goes on from it.

    <directory>/<number>.parts/part-<rank>.safetensors   slices of tensors, in the layout of
                                                         torch.distributed.checkpoint's safetensors storage
    <directory>/<number>.parts/index.json                facts, and each part's size and digest, sealed

The folder is filled aside and renamed, so it is whole or absent. torch.distributed.checkpoint says which slices
a rank needs of which part; each rank plans for itself, because plans that are agreed on travel as pickles, and
its own index file is one too. What is no tensor stands in `index.json`.
Law: no pickle, on disk or between ranks; nothing is used before the digest of every part agrees, and all ranks
come to the same finding. Every rank sees the same folder.
"""

import contextlib
import hashlib
import math
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archipel.records.canonical import canonical_json, parse_canonical, sha256_digest
from archipel.training.checkpoint import BadCheckpoint, DamagedCheckpoint
from archipel.training.sharding import Site, max_over_ranks, wait_for_all

FORMAT = 1
INDEX = "index.json"
MAX_INDEX_BYTES = 16 * 1024 * 1024
"""A recipe, a model description and a line for each part."""
MAX_PARTS = 65_536
_NAME = re.compile(r"([0-9]{9})\.parts")
_PART = re.compile(r"part-[0-9]{5}\.safetensors")
ASIDE, _DAMAGED = ".aside", "-damaged"
"""What a folder is called while it is filled, and once it turned out damaged."""


@dataclass(frozen=True)
class CheckpointInParts:
    """A checkpoint whose parts are as they were written; no tensor of it is read yet."""

    number: int
    facts: dict[str, Any]
    folder: Path

    def forms(self) -> dict[str, Tensor]:
        """Tensors without numbers: name -> shape and type of the whole.

        Raises:
            DamagedCheckpoint: slices do not make up the whole.
        """
        described = _reader(self.folder).read_metadata().state_dict_metadata
        forms = {}
        for name, each in described.items():
            covered = sum(math.prod(chunk.sizes) for chunk in each.chunks)
            if covered != math.prod(each.size):
                raise DamagedCheckpoint(
                    f"{self.folder} holds {covered} of {math.prod(each.size)} numbers of {name}"
                )
            forms[name] = torch.empty(each.size, dtype=each.properties.dtype, device="meta")
        return forms

    def read_into(self, places: Mapping[str, Tensor]) -> None:
        """Set these tensors, whole or shared out over ranks in whatever way, to what was saved by their names.

        Raises:
            BadCheckpoint: one is missing, or has another shape.
        """
        from torch.distributed.checkpoint.api import CheckpointException
        from torch.distributed.checkpoint.state_dict_loader import load

        try:
            with planning_alone():
                load(dict(places), storage_reader=_reader(self.folder), no_dist=True)
        except (CheckpointException, RuntimeError, ValueError, KeyError) as error:
            raise BadCheckpoint(f"{self.folder} has other tensors: {error!r:.300}") from None


def parted_folder(directory: Path, number: int) -> Path:
    """Where `write_parted` puts it."""
    return directory / f"{number:09d}.parts"


def parted_numbers(directory: Path) -> list[int]:
    """Of the checkpoints in parts that lie here, whatever they are worth; the oldest first."""
    if not directory.is_dir():
        return []
    found = (_NAME.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(each.group(1)) for each in found if each)


def latest_parted(directory: Path) -> int:
    """Number of the newest whose parts are as long as its index says; -1 for none. No tensor is read."""
    for number in reversed(parted_numbers(directory)):
        try:
            _described(parted_folder(directory, number))
        except BadCheckpoint:
            continue
        return number
    return -1


def parted_facts(directory: Path) -> dict[int, dict[str, Any]]:
    """Facts by number of those whose parts are as long as their index says, the newest first. No tensor is read."""
    found = {}
    for number in reversed(parted_numbers(directory)):
        with contextlib.suppress(BadCheckpoint):
            found[number] = dict(_described(parted_folder(directory, number))["facts"])
    return found


def read_parted(directory: Path, number: int, site: Site) -> CheckpointInParts:
    """A checkpoint, once all its bytes were found to be those that were written. A collective: ranks share the reading.

    Raises:
        BadCheckpoint: on every rank; one whose bytes are damaged is set aside.
    """
    folder = parted_folder(directory, number)
    fault = ""
    try:
        body = _described(folder)
        for part in body["parts"][site.rank :: site.world]:
            if file_digest(folder / part["name"]) != part["digest"]:
                raise DamagedCheckpoint(f"{part['name']} of {folder} is not what was written")
    except (BadCheckpoint, OSError) as error:
        fault = str(error)
    if int(max_over_ranks(torch.tensor([int(bool(fault))]), site)):
        if site.is_first and folder.exists():
            folder.replace(cleared(folder.with_name(folder.name + _DAMAGED)))
        wait_for_all(site)
        raise DamagedCheckpoint(fault or f"another rank found {folder} damaged")
    return CheckpointInParts(number, body["facts"], folder)


def remove_parted(directory: Path, before: int) -> None:
    """Remove those of lower numbers, and what was left over. Raises OSError."""
    for number in parted_numbers(directory):
        if number < before:
            shutil.rmtree(parted_folder(directory, number))
    for leftover in (*directory.glob(f".*{ASIDE}"), *directory.glob(f"*{_DAMAGED}")):
        shutil.rmtree(leftover)


def cleared(path: Path) -> Path:
    """The same, where nothing is any more. Raises OSError."""
    if path.exists():
        shutil.rmtree(path)
    return path


def _described(folder: Path) -> dict[str, Any]:
    """What an index says, under its own digest; every part that it names is there and as long as it says.

    Raises:
        BadCheckpoint: it is missing. DamagedCheckpoint: it is altered.
    """
    try:
        with (folder / INDEX).open("rb") as file:
            data = file.read(MAX_INDEX_BYTES + 1)
        body = _body_of(data)
        for part in body["parts"]:
            size = (folder / part["name"]).stat().st_size
            if size != part["size"]:
                raise ValueError(f"{part['name']} has {size} bytes, {part['size']} were written")
    except OSError as error:
        raise BadCheckpoint(f"{folder} cannot be read: {error.strerror or error}") from None
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        raise DamagedCheckpoint(f"{folder} is no checkpoint in parts: {error!r:.200}") from None
    return body


def _body_of(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_INDEX_BYTES:
        raise ValueError(f"an index of more than {MAX_INDEX_BYTES} bytes")
    sealed = parse_canonical(data)
    body: dict[str, Any] = sealed["body"]
    if sha256_digest(canonical_json(body)) != sealed["digest"]:
        raise ValueError("the index does not fit its own digest")
    if body.keys() != {"format", "number", "facts", "parts"} or body["format"] != FORMAT:
        raise ValueError(
            f"expected format {FORMAT}, number, facts and parts, got {list(body)!r:.100}"
        )
    if not 1 <= len(body["parts"]) <= MAX_PARTS:
        raise ValueError(f"{len(body['parts'])} parts; expected 1 to {MAX_PARTS}")
    for part in body["parts"]:
        if not _PART.fullmatch(part["name"]) or type(part["size"]) is not int:
            raise ValueError(f"{part!r:.200} names no part")
    return body


def file_digest(path: Path) -> str:
    """SHA-256 of a file. Raises OSError."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _reader(folder: Path) -> Any:
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

    return HuggingFaceStorageReader(os.fspath(folder))


@contextmanager
def planning_alone() -> Iterator[None]:
    """It warns of what is meant: that each rank plans for itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
