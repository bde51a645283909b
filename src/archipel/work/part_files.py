"""Parts of a version as files, each written by the process that holds its tensors, and read again.

    <folder>/<hex>     bytes under their SHA-256: a part's manifest, anchor, delta

Parts: `PartWeights` (a part in memory), `write_part`, `read_part`. Law: a part's files follow from its own tensors, and
its delta from these and those before, whoever wrote the other parts.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from archipel.model.manifest import Manifest, TensorEntry, WrongTarget, describe, weight_bytes
from archipel.model.versions import apply_delta, decode_anchor, encode_anchor, encode_delta
from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.part_manifest import TensorFact
from archipel.records.weight_parts import Part, Rows
from archipel.records.weight_state import state_of
from archipel.work.joining import Receipt
from archipel.work.part_plan import Planned


@dataclass(frozen=True, slots=True)
class PartWeights:
    """A part in memory."""

    state: Mapping[str, Tensor]
    """By name: whole tensors, or the part's rows of its only one."""
    manifest: Manifest
    """Of these alone."""
    rows: Rows | None = None


def part_of(
    state: Mapping[str, Tensor],
    planned: Planned,
    version: int,
    parent: str | None,
    whole: Manifest | None = None,
) -> PartWeights:
    """What a part holds of `state`, which has its tensors whole.

    parent: state digest of the same part one version before. whole: of all the version's tensors, where they were
    described already; None: they are hashed here.

    Raises:
        WrongTensors: a tensor is not bfloat16.
    """
    held = {name: state[name] for name, _ in planned.forms}
    if planned.rows is None:
        known = {} if whole is None else {each.name: each for each in whole.tensors}
        manifest = (
            _selected([known[name] for name in held], version, parent)
            if known
            else describe(held, version, parent)
        )
        return PartWeights(held, manifest)
    ((name, tensor),) = held.items()
    start, stop = planned.rows
    digest = sha256_digest(weight_bytes(name, tensor).data)
    rows = Rows(start=start, stop=stop, shape=tuple(tensor.shape), digest=digest)
    cut = {name: tensor[start:stop].contiguous()}
    return PartWeights(cut, describe(cut, version, parent), rows)


def write_part(
    folder: Path, number: int, part: PartWeights, before: PartWeights | None, *, is_anchor: bool
) -> Receipt:
    """Write a part's files; what to tell whoever joins them.

    before: the same part of the version before; None for version 0.

    Raises:
        WrongParent, WrongTensors: `before` is not that. OSError: the disk is full or not writable.
    """
    manifest = part.manifest
    delta = anchor = None
    if before is not None:
        delta = _kept(folder, encode_delta(before.state, part.state, before.manifest, manifest))
    if is_anchor:
        anchor = _kept(folder, encode_anchor(part.state))
    names = [each.name for each in manifest.tensors]
    told = Part(
        manifest=_kept(folder, manifest.to_bytes()),
        state=manifest.state,
        first=names[0],
        last=names[-1],
        tensors=len(names),
        weights=sum(each.num_weights for each in manifest.tensors),
        rows=part.rows,
    )
    return Receipt(number=number, part=told, anchor=anchor, delta=delta)


def manifest_of(part: Part, data: bytes) -> Manifest:
    """What a part's manifest says.

    Raises:
        BadWeights: it is none, or of another part.
    """
    manifest = Manifest.from_bytes(data)
    if manifest.state != part.state:
        raise WrongTarget(f"a part's manifest is of {manifest.state}, expected {part.state}")
    return manifest


def read_part(manifest: Manifest, data: bytes, held: PartWeights | None) -> Mapping[str, Tensor]:
    """A part's weights, checked tensor by tensor.

    data: its delta from `held`, the part one version before; with None its anchor.

    Raises:
        BadWeights: damaged, of another part, or it leads elsewhere.
    """
    if held is None:
        return decode_anchor(data, manifest)
    return apply_delta(held.state, held.manifest, data, manifest)


def _selected(entries: Sequence[TensorEntry], version: int, parent: str | None) -> Manifest:
    """A part's manifest, of tensors that are described already."""
    facts = [TensorFact(each.name, each.shape, each.digest) for each in entries]
    return Manifest(version, parent, tuple(entries), state_of(facts))


def _kept(folder: Path, data: bytes) -> BlobRef:
    digest = sha256_digest(data)
    path = folder / digest.removeprefix("sha256:")
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    partial.replace(path)
    return BlobRef(digest=digest, size=len(data))
