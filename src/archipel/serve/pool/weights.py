"""Weights of some layers: read from a directory, or fetched once and kept, by the digest of their bytes.

Parts: `Original` (what the gateway has), `Copies` (what a device has or gets). Law: a device computes with bytes whose
digest the gateway named, wherever they came from.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from archipel.blobs.errors import BlobError
from archipel.blobs.store import BlobStore
from archipel.model.config import DecoderConfig
from archipel.model.directory import InvalidModel, expected_shapes, read_config, read_tensors
from archipel.records.canonical import sha256_digest
from archipel.serve.pool.messages import CHUNK_BYTES, MAX_TENSOR_BYTES

Layers = tuple[int, int]


NORM = "model.norm.weight"
"""The final one, which lies at the gateway and with the last layer."""


def names_of(config: DecoderConfig, layers: Layers) -> list[str]:
    """The weights of layers [first, end), and the final norm with the last."""
    prefixes = tuple(f"model.layers.{i}." for i in range(*layers))
    ends = (NORM,) if layers[1] == config.num_layers else ()
    return [name for name in expected_shapes(config) if name.startswith((*prefixes, *ends))]


def bytes_of_layer(config: DecoderConfig, layer: int, itemsize: int) -> int:
    """Memory of one layer's weights, at this many bytes a number."""
    shapes = expected_shapes(config)
    return itemsize * sum(
        torch.Size(shapes[name]).numel() for name in names_of(config, (layer, layer + 1))
    )


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a bf16 weight."""
    return tensor.contiguous().view(torch.uint8).numpy().reshape(-1).data


class Original:
    """The model's own directory; weights are read when somebody needs them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = read_config(path)
        self._digests: dict[str, str] = {}

    def ends(self) -> dict[str, Tensor]:
        """What is in no layer, in bf16."""
        names = [
            name for name in expected_shapes(self.config) if not name.startswith("model.layers.")
        ]
        return read_tensors(self.path, names, self.config, torch.bfloat16)

    def digests(self, layers: Layers) -> dict[str, str]:
        """Of the weights of these layers, by name."""
        names = names_of(self.config, layers)
        for layer in range(*layers):  # one in memory at a time: the whole may not fit here
            own = names_of(self.config, (layer, layer + 1))
            unknown = [name for name in own if name not in self._digests]
            if unknown:
                read = read_tensors(self.path, unknown, self.config, torch.bfloat16)
                self._digests |= {name: sha256_digest(raw(each)) for name, each in read.items()}
        return {name: self._digests[name] for name in names}

    def not_finite(self, layers: Layers) -> str | None:
        """The first weight of these layers with a number that is none; None: there is none such."""
        for layer in range(*layers):
            names = names_of(self.config, (layer, layer + 1))
            read = read_tensors(self.path, names, self.config, torch.bfloat16)
            for name, each in read.items():
                if not each.isfinite().all():
                    return name
        return None

    def parts(self, name: str) -> Iterator[tuple[int, int, memoryview]]:
        """(start, size of all, bytes) of one weight, a frame each."""
        tensor = read_tensors(self.path, [name], self.config, torch.bfloat16)[name]
        data = raw(tensor)
        for start in range(0, len(data), CHUNK_BYTES):
            yield start, len(data), data[start : start + CHUNK_BYTES]


class Copies:
    """A device's own: its copy of the directory, if it has one, and what it fetched."""

    def __init__(self, path: Path | None, kept: BlobStore | None) -> None:
        self._path, self._kept = path, kept
        self._coming: dict[str, bytearray] = {}
        self._missing: dict[str, int] = {}
        """Digest -> bytes, of what was said to be missing: nothing else is taken."""

    def find(
        self, config: DecoderConfig, wanted: Mapping[str, str]
    ) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """The weights that are here, by name, and the names of those that are not."""
        found = self._own(config, wanted)
        shapes = expected_shapes(config)
        for name, digest in wanted.items():
            if name in found or self._kept is None:
                continue
            size = 2 * torch.Size(shapes[name]).numel()
            try:
                data = self._kept.read_bytes(digest, size)
            except BlobError:
                continue
            if len(data) == size:
                numbers = torch.frombuffer(bytearray(data), dtype=torch.bfloat16)
                found[name] = numbers.view(shapes[name])
        missing = tuple(name for name in wanted if name not in found)
        self._missing = {wanted[name]: 2 * torch.Size(shapes[name]).numel() for name in missing}
        self._coming = {each: part for each, part in self._coming.items() if each in self._missing}
        return found, missing

    def take(self, digest: str, size: int, start: int, part: bytes) -> bool:
        """Keep the next part of a weight; whether that is all of it.

        Raises:
            ValueError: it neither begins the weight nor follows on its last part, is larger than announced, or the
                whole is another.
        """
        if self._kept is None:
            raise ValueError("this device keeps no weights; give it the model's directory")
        if size != self._missing.get(digest):
            raise ValueError(f"a weight of {size} bytes came that is not missing")
        held = self._coming.setdefault(digest, bytearray())
        if start == 0:  # anew, as after a link that was lost on the way
            held.clear()
        if start != len(held) or start + len(part) > min(size, MAX_TENSOR_BYTES) or not part:
            raise ValueError(
                f"bytes from {start} on of a weight of {size} came; expected {len(held)}"
            )
        held += part
        if len(held) < size:
            return False
        data = bytes(self._coming.pop(digest))
        if sha256_digest(data) != digest:
            raise ValueError(f"a weight came whose bytes are not those of {digest}")
        self._kept.put_bytes(data)
        return True

    def _own(self, config: DecoderConfig, wanted: Mapping[str, str]) -> dict[str, Tensor]:
        if self._path is None:
            return {}
        try:
            if read_config(self._path) != config:
                return {}
            read = read_tensors(self._path, wanted, config, torch.bfloat16)
        except InvalidModel:
            return {}
        return {
            name: each for name, each in read.items() if sha256_digest(raw(each)) == wanted[name]
        }
