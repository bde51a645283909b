"""How ranks write a checkpoint in parts (`training.checkpoint_parts`): each its own file, then the first of them the index.

Law: a rank that cannot write is heard of by all, and none waits for it; earlier checkpoints stay until the new one has
its name.
"""

import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archipel.records.canonical import canonical_json, sha256_digest
from archipel.training.checkpoint import KEPT, flush
from archipel.training.checkpoint_parts import (
    ASIDE,
    FORMAT,
    INDEX,
    cleared,
    file_digest,
    parted_folder,
    parted_numbers,
    planning_alone,
    remove_parted,
)
from archipel.training.sharding import (
    Site,
    all_ranks_say,
    has_own_part,
    max_over_ranks,
    wait_for_all,
)

_DIGEST_BYTES, _SIZE_BYTES = 32, 8


def write_parted(
    directory: Path,
    number: int,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    site: Site,
) -> Path:
    """Add a checkpoint to a directory that all ranks see, and remove all but the newest. A collective.

    tensors: name -> this rank's own, sharded or not; one that is not is the same on every rank. facts: canonical
    JSON values (no floats).

    Raises:
        OSError: on every rank, when one could not write; earlier checkpoints are untouched.
    """
    folder = parted_folder(directory, number)
    aside = directory / f".{folder.name}{ASIDE}"
    if site.is_first:
        with suppress(OSError):  # every rank finds out when it writes, and says so
            _make_aside(directory, aside)
    wait_for_all(site)
    told = _told(aside, tensors, site)
    parts = _heard(all_ranks_say(told, site), aside)
    fault: OSError | None = None
    if site.is_first:
        try:
            _finish(aside, folder, {"number": number, "facts": dict(facts), "parts": parts})
        except OSError as error:
            fault = error
    if int(max_over_ranks(torch.tensor([int(fault is not None)]), site)):
        raise fault or OSError(f"the first rank could not finish {folder}; its log says why")
    return folder


def _make_aside(directory: Path, aside: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    remove_parted(directory, before=0)
    aside.mkdir()


def _told(aside: Path, tensors: Mapping[str, Tensor], site: Site) -> bytes:
    """What this rank says of its part: nothing when it could not write it, a size of 0 when it holds none."""
    try:
        path = _write_part(aside, tensors, site)
        if path is None:
            return bytes(_DIGEST_BYTES + _SIZE_BYTES)
        size = path.stat().st_size.to_bytes(_SIZE_BYTES, "little")
        return bytes.fromhex(file_digest(path).removeprefix("sha256:")) + size
    except OSError as error:
        warnings.warn(f"rank {site.rank} cannot write its part: {error}", stacklevel=2)
        return b"\xff" * (_DIGEST_BYTES + _SIZE_BYTES)


def _write_part(aside: Path, tensors: Mapping[str, Tensor], site: Site) -> Path | None:
    """Takes as many bytes again as the part has: it is made in memory."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    own = {name: each for name, each in tensors.items() if has_own_part(each, site)}
    if not own:
        return None
    place = aside / f"rank-{site.rank}"
    place.mkdir()
    try:
        with planning_alone():
            writer = HuggingFaceStorageWriter(str(place), save_distributed=True)
            save(own, storage_writer=writer, no_dist=True)
    except CheckpointException as error:  # how the library reports a full disk
        raise OSError(f"cannot write {place}: {error!r:.300}") from None
    (written,) = place.iterdir()
    path = written.replace(aside / f"part-{site.rank:05d}.safetensors")
    place.rmdir()
    return path


def _heard(said: list[bytes], aside: Path) -> list[dict[str, Any]]:
    """Raises OSError: a rank could not write."""
    parts = []
    for rank, each in enumerate(said):
        size = int.from_bytes(each[_DIGEST_BYTES:], "little")
        if each == b"\xff" * len(each):
            raise OSError(f"rank {rank} could not write its part of {aside}; its log says why")
        if size:
            digest = f"sha256:{each[:_DIGEST_BYTES].hex()}"
            parts.append({"name": f"part-{rank:05d}.safetensors", "size": size, "digest": digest})
    return parts


def _finish(aside: Path, folder: Path, body: Mapping[str, Any]) -> None:
    """The index, then the name; only then older ones go."""
    sealed_body = {"format": FORMAT, **body}
    sealed = {"body": sealed_body, "digest": sha256_digest(canonical_json(sealed_body))}
    (aside / INDEX).write_bytes(canonical_json(sealed))
    flush(aside / INDEX)
    flush(aside)
    aside.replace(cleared(folder))
    flush(folder.parent)
    numbers = parted_numbers(folder.parent)
    remove_parted(folder.parent, before=numbers[-KEPT:][0])
