"""All tensors at the top of a folder, and their state digest."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipel.records.canonical import parse_canonical
from archipel.release.weights.manifest import Tensor, state_digest
from archipel.release.weights.stored import BadStored, digests_in, header_of

OVER = "archipel"
"""In an adapter file's metadata: what it lies over."""


@dataclass(frozen=True, slots=True)
class Top:
    """What safetensors files hold together."""

    tensors: Mapping[str, Tensor]
    """By their names."""
    lies: Mapping[str, str]
    """Tensor -> the file that it lies in."""
    over: dict[str, Any] | None
    """Form and base of an adapter; None: whole weights."""

    @property
    def digest(self) -> str:
        """State digest."""
        return state_digest(self.tensors.values(), self.over)

    @property
    def forms(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes, in order."""
        return sorted((each.name, each.shape) for each in self.tensors.values())


def top_of(folder: Path, names: Iterable[str]) -> Top:
    """What these safetensors files hold.

    Raises:
        BadStored: one is none, a name stands in two; the message names the file. OSError: it cannot be read.
    """
    found: dict[str, Tensor] = {}
    lies: dict[str, str] = {}
    over = None
    for name in names:
        try:
            header = header_of(folder / name)
            for each, digest in digests_in(folder / name, header):
                if each.name in found:
                    raise BadStored(f"the tensor {each.name} lies in another file, too")
                found[each.name] = Tensor(each.name, each.dtype, each.shape, digest)
                lies[each.name] = name
            if OVER in header.metadata:
                over = parse_canonical(header.metadata[OVER].encode())
                if not isinstance(over, dict):
                    raise BadStored("what it lies over is no object")
        except ValueError as error:
            raise BadStored(f"{name}: {error!s:.300}") from None
    return Top(found, lies, over)


def state_of(folder: Path, names: Iterable[str]) -> tuple[str, int]:
    """(state digest, tensors) of these safetensors files. Raises as `top_of`."""
    top = top_of(folder, names)
    return top.digest, len(top.tensors)
