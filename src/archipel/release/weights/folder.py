"""The state digest of all tensors at the top of a folder."""

from collections.abc import Iterable
from pathlib import Path

from archipel.records.canonical import parse_canonical
from archipel.release.weights.manifest import Tensor, state_digest
from archipel.release.weights.stored import BadStored, digests_in, header_of

OVER = "archipel"
"""In an adapter file's metadata: what it lies over."""


def state_of(folder: Path, names: Iterable[str]) -> tuple[str, int]:
    """(state digest, tensors) of these safetensors files.

    Raises:
        BadStored: one is none, a name stands in two; the message names the file. OSError: it cannot be read.
    """
    found: dict[str, Tensor] = {}
    over = None
    for name in names:
        try:
            header = header_of(folder / name)
            for each, digest in digests_in(folder / name, header):
                if each.name in found:
                    raise BadStored(f"the tensor {each.name} lies in another file, too")
                found[each.name] = Tensor(each.name, each.dtype, each.shape, digest)
            if OVER in header.metadata:
                over = parse_canonical(header.metadata[OVER].encode())
        except ValueError as error:
            raise BadStored(f"{name}: {error!s:.300}") from None
    return state_digest(found.values(), over), len(found)
