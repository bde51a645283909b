"""Weights on their way from the update role to everyone who samples.

A version travels as a manifest and either an anchor (all weights: a safetensors file compressed
with zstd, which `zstd -d` turns back into one) or a delta (changed weights only, from the version
before). A chain of deltas gives, byte for byte, the weights that an anchor holds.
Parts: `encode_anchor`, `decode_anchor`, `encode_delta`, `apply_delta`; manifests stand in
`manifest`, the bytes of a delta in `delta_file`, the coding of differences in `difference`.
Law: nothing is believed until its digest agrees, nothing is allocated beyond what the manifest
and the weights at hand imply, and a state handed in is never changed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import safetensors.torch
import torch
import zstandard
from safetensors import SafetensorError
from torch import Tensor

from archipel.model.delta_file import DeltaFile
from archipel.model.difference import (
    BLOCK_WEIGHTS,
    BadDifference,
    decode_block,
    encode_block,
    inflate,
)
from archipel.model.manifest import (
    BadManifest,
    BadWeights,
    CorruptWeights,
    Manifest,
    TensorEntry,
    TooLarge,
    WrongParent,
    WrongTarget,
    WrongTensors,
    describe,
    require_bfloat16,
    weight_bytes,
)
from archipel.records.canonical import sha256_digest

__all__ = [
    "TensorEntry",
    "Manifest",
    "describe",
    "encode_anchor",
    "decode_anchor",
    "encode_delta",
    "apply_delta",
    "BadWeights",
    "BadManifest",
    "WrongParent",
    "WrongTarget",
    "WrongTensors",
    "TooLarge",
    "CorruptWeights",
]

MAX_ANCHOR_HEADER_BYTES = 8 * 1024 * 1024
"""Names, shapes and offsets at the front of an anchor."""
ANCHOR_LEVEL = 3
"""zstd level of anchors: bf16 mantissas do not compress, so higher levels buy almost nothing."""
_LENGTH_BYTES = 8

Forms = list[tuple[str, str, tuple[int, ...]]]


def encode_anchor(state: Mapping[str, Tensor]) -> bytes:
    """All weights of a version, readable without any earlier one.

    Raises:
        WrongTensors: a tensor is not bfloat16.
    """
    for name, tensor in state.items():
        require_bfloat16(name, tensor)
    # Copies, because safetensors refuses tensors that share one buffer.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    raw = safetensors.torch.save(tensors)
    return zstandard.ZstdCompressor(level=ANCHOR_LEVEL, write_checksum=True).compress(raw)


def decode_anchor(data: bytes, manifest: Manifest) -> dict[str, Tensor]:
    """The weights of `manifest`, checked tensor by tensor.

    Raises:
        TooLarge: the header exceeds its limit.
        CorruptWeights: not a whole anchor, or more bytes than these weights can need.
        WrongTensors: other names, types or shapes than the manifest's.
        WrongTarget: a tensor is not the one that the manifest names.
    """
    try:
        raw = inflate(
            data, _LENGTH_BYTES, _LENGTH_BYTES + MAX_ANCHOR_HEADER_BYTES + manifest.num_bytes
        )
    except BadDifference as error:
        raise CorruptWeights(f"anchor: {error}") from None
    header_length = int.from_bytes(raw[:_LENGTH_BYTES], "little")
    if header_length > MAX_ANCHOR_HEADER_BYTES:
        raise TooLarge(
            f"anchor header of {header_length} bytes; the limit is {MAX_ANCHOR_HEADER_BYTES}"
        )
    try:
        tensors = safetensors.torch.load(raw)
    except SafetensorError as error:
        raise CorruptWeights(f"anchor is not a safetensors file: {error}") from None
    _check_forms(_forms(tensors), manifest.forms)
    bits = [weight_bytes(entry.name, tensors[entry.name]).copy() for entry in manifest.tensors]
    return _believed(bits, manifest, WrongTarget)


def encode_delta(
    old: Mapping[str, Tensor], new: Mapping[str, Tensor], parent: Manifest, manifest: Manifest
) -> bytes:
    """What turns `old`, which `parent` describes, into `new`, which `manifest` describes.

    Raises:
        WrongParent: `manifest` does not follow `parent`.
        WrongTensors: the two differ in more than values, or a tensor is not bfloat16.
    """
    _check_succession(parent, manifest)
    pairs = zip(_blocks(old, parent), _blocks(new, manifest), strict=True)
    blocks = tuple(encode_block(before, after) for before, after in pairs)
    return DeltaFile(parent.state, manifest.state, manifest.version, blocks).to_bytes()


def apply_delta(
    state: Mapping[str, Tensor], held: Manifest, data: bytes, target: Manifest
) -> dict[str, Tensor]:
    """The weights of `target`, from those of `held` and a delta; `state` stays as it is.

    Raises:
        WrongParent: the delta or the target starts from other weights than `held`.
        WrongTarget: the delta leads elsewhere than `target`.
        WrongTensors: the target has other names, types or shapes.
        TooLarge: the delta's header exceeds its limit.
        CorruptWeights: damaged, or the result is not what the target's digests say.
    """
    # 1. What the delta says of itself.
    delta = DeltaFile.from_bytes(data)
    # 2. It starts from what is held.
    if delta.parent != held.state:
        raise WrongParent(
            f"delta to version {delta.version} starts from {delta.parent}, but version"
            f" {held.version} with {held.state} is held; apply deltas in order, or start from an anchor"
        )
    # 3. It leads to what is wanted, which follows what is held.
    if (delta.state, delta.version) != (target.state, target.version):
        raise WrongTarget(
            f"delta leads to version {delta.version} with {delta.state}, expected version"
            f" {target.version} with {target.state}"
        )
    _check_succession(held, target)
    # 4. The differences, applied to a copy.
    num_weights = sum(entry.num_weights for entry in held.tensors)
    num_blocks = -(-num_weights // BLOCK_WEIGHTS)
    if len(delta.blocks) != num_blocks:
        raise CorruptWeights(
            f"delta has {len(delta.blocks)} blocks; these weights need {num_blocks}"
        )
    after, start = np.empty(num_weights, np.dtype("<u2")), 0
    for before, block in zip(_blocks(state, held), delta.blocks, strict=True):
        try:
            after[start : start + len(before)] = decode_block(before, block)
        except BadDifference as error:
            raise CorruptWeights(f"delta at weight {start}: {error}") from None
        start += len(before)
    # 5. Every tensor is the one that the target names.
    ends = np.cumsum([entry.num_weights for entry in target.tensors])
    return _believed(np.split(after, ends[:-1]), target, CorruptWeights)


def _check_succession(held: Manifest, target: Manifest) -> None:
    if target.parent != held.state or target.version != held.version + 1:
        raise WrongParent(
            f"version {target.version} follows {target.parent}, but version {held.version} with"
            f" {held.state} is held"
        )
    if target.over != held.over:
        raise WrongTensors(
            f"version {target.version} is over {_named(target)}, and version {held.version} over {_named(held)}"
        )
    _check_forms(target.forms, held.forms)


def _named(manifest: Manifest) -> str:
    over = manifest.over
    return "nothing: it is a whole model" if over is None else f"{over.base}, as {over.form}"


def _check_forms(got: Forms, expected: Forms) -> None:
    if got == expected:
        return
    for one, other in zip(got, expected, strict=False):
        if one != other:
            raise WrongTensors(f"got tensor {one!r:.200}, expected {other!r:.200}")
    raise WrongTensors(f"got {len(got)} tensors, expected {len(expected)}")


def _forms(state: Mapping[str, Tensor]) -> Forms:
    return [
        (name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in sorted(state.items())
    ]


def _blocks(state: Mapping[str, Tensor], manifest: Manifest) -> Iterator[np.ndarray]:
    """All bit patterns in the manifest's order, in the blocks in which weights are coded."""
    _check_forms(_forms(state), manifest.forms)
    held, room = list[np.ndarray](), BLOCK_WEIGHTS
    for entry in manifest.tensors:
        bits = weight_bytes(entry.name, state[entry.name])
        while len(bits) >= room:
            yield np.concatenate([*held, bits[:room]])
            held, bits, room = [], bits[room:], BLOCK_WEIGHTS
        held.append(bits)
        room -= len(bits)
    if room < BLOCK_WEIGHTS:
        yield np.concatenate(held)


def _believed(
    parts: list[Any], manifest: Manifest, disagreement: type[BadWeights]
) -> dict[str, Tensor]:
    """Flat bit patterns as tensors, which they become, once each has the digest that the manifest gives it."""
    state: dict[str, Tensor] = {}
    for entry, bits in zip(manifest.tensors, parts, strict=True):
        digest = sha256_digest(bits.data)
        if digest != entry.digest:
            raise disagreement(
                f"{entry.name} is {digest}, but version {manifest.version} says {entry.digest}"
            )
        native = bits.astype(np.uint16, copy=False).view(np.int16)
        state[entry.name] = torch.from_numpy(native).view(torch.bfloat16).reshape(entry.shape)
    return state
