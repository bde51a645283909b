"""A checkpoint in one file, as `training.checkpoint` reads it, from tensors that lie in parts on several ranks.

Law: the first rank holds one whole tensor at a time, and the others none for longer than it takes to pass it on;
what is read from the file is what one process would have written.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from archipel.training.checkpoint import (
    DESCRIBED,
    described,
    digest_of_lines,
    line_of,
    placed,
    prepared,
    remove_old,
    tensor_bytes,
)
from archipel.training.sharding import Site, max_over_ranks, whole

_KINDS = {torch.float32: "F32", torch.bfloat16: "BF16", torch.uint8: "U8"}
"""How safetensors calls them."""
_LENGTH_BYTES = 8


def write_gathered(
    directory: Path,
    number: int,
    tensors: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    site: Site,
) -> Path | None:
    """Add a checkpoint to a directory as `write_checkpoint` does; its file, on the first rank. A collective.

    tensors: name -> this rank's own, sharded or not; float32, bfloat16 or bytes. facts: canonical JSON values.

    Raises:
        OSError: on every rank, when the first could not write; earlier checkpoints are untouched.
    """
    wide_first = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    gathered = ((name, whole(tensors[name].detach()).cpu()) for name in wide_first)
    fault, path = None, None
    if site.is_first:
        try:
            path = prepared(directory, number)
            forms = {name: tensors[name] for name in wide_first}
            with placed(path) as aside:
                _write(aside, _Head(number, facts, forms), gathered)
            remove_old(directory)
        except OSError as error:
            fault = error
    for _ in gathered:
        pass  # a rank passes on what it has no use for, or cannot write any more
    if int(max_over_ranks(torch.tensor([int(fault is not None)]), site)):
        raise fault or OSError(f"the first rank could not write checkpoint {number}")
    return path


class _Head:
    """What stands before the tensors; as long with one digest as with another."""

    def __init__(self, number: int, facts: Mapping[str, Any], forms: Mapping[str, Tensor]) -> None:
        self._number, self._facts = number, facts
        self._places: dict[str, Any] = {}
        start = 0
        for name, each in forms.items():
            end = start + each.numel() * each.element_size()
            form = {"dtype": _KINDS[each.dtype], "shape": list(each.shape)}
            self._places[name] = form | {"data_offsets": [start, end]}
            start = end

    def bytes_with(self, tensors: str) -> bytes:
        """tensors: the digest over all of them."""
        metadata = {DESCRIBED: described(self._number, self._facts, tensors)}
        head = json.dumps({"__metadata__": metadata, **self._places}).encode()
        head += b" " * (-len(head) % _LENGTH_BYTES)
        return len(head).to_bytes(_LENGTH_BYTES, "little") + head


def _write(aside: Path, head: _Head, gathered: Iterator[tuple[str, Tensor]]) -> None:
    lines = []
    with aside.open("wb") as file:
        file.write(head.bytes_with(digest_of_lines([])))
        for name, tensor in gathered:
            file.write(tensor_bytes(tensor))
            lines.append(line_of(name, tensor))
        file.seek(0)
        file.write(head.bytes_with(digest_of_lines(lines)))
