"""A version in parts put together: from its files on this machine to the same policy as if it were whole.

Parts: `PartedWeights`, `documents_of`, `index_of`, `files_of`, `assembled`. Law: no part is believed before it has the digests that the index gives it, and the
tensors together have the version's own, which is that of the same weights unparted.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from archipel.model.manifest import (
    DTYPE,
    CorruptWeights,
    Manifest,
    TensorEntry,
    WrongParent,
    WrongTarget,
    WrongTensors,
    weight_bytes,
)
from archipel.records.canonical import sha256_digest
from archipel.records.chain import Publication
from archipel.records.fields import BlobRef
from archipel.records.weight_parts import (
    BadParts,
    Part,
    PartBlobs,
    PartIndex,
    Rows,
    read_blobs,
    read_index,
)
from archipel.work.kind import WorkFailed
from archipel.work.messages import LinkMessage
from archipel.work.part_files import PartWeights, manifest_of, part_of, read_part
from archipel.work.part_plan import Planned

Files = tuple[bytes, bytes]
"""A part's manifest, and its anchor or delta."""


@dataclass(frozen=True, slots=True)
class PartedWeights:
    """All tensors of a version, and what it is."""

    state: Mapping[str, Tensor]
    manifest: Manifest


def index_of(link: LinkMessage) -> PartIndex:
    """What a version in parts is.

    Raises:
        CorruptWeights: the document is none. WorkFailed: it is another version's.
    """
    try:
        index = read_index(link.manifest.read_bytes())
    except BadParts as error:
        raise CorruptWeights(str(error)) from None
    if index.state != link.policy:
        raise WorkFailed(f"index of version {link.version} is not for {link.policy}")
    if link.parts is None or len(link.parts) != len(index.parts):
        there = 0 if link.parts is None else len(link.parts)
        raise WorkFailed(
            f"version {link.version} has {len(index.parts)} parts, and {there} of them are at hand"
        )
    return index


def documents_of(
    made: Publication, read: Callable[[BlobRef], bytes]
) -> tuple[PartIndex, dict[str, PartBlobs]]:
    """What was published of a version in parts: its index, and the lists of its anchors and deltas by these words.

    Raises:
        CorruptWeights: a document is none, or of another version. Whatever `read` raises.
    """
    try:
        index = read_index(read(made.manifest))
        if (index.version, index.state) != (made.version, made.policy):
            raise BadParts(
                f"the index is of version {index.version}, {index.state}; published was {made.version}, {made.policy}"
            )
        lists = {}
        if made.anchor is not None:
            lists["anchor"] = read_blobs(read(made.anchor), index, "anchor")
        if made.delta is not None:
            lists["delta"] = read_blobs(read(made.delta), index, "delta")
    except BadParts as error:
        raise CorruptWeights(str(error)) from None
    return index, lists


def files_of(link: LinkMessage) -> Iterator[Files]:
    """Of a link in parts, each part's two files, read one after the other."""
    return ((told.read_bytes(), data.read_bytes()) for told, data in link.parts or ())


def assembled(
    index: PartIndex,
    files: Iterable[Files],
    held: Mapping[str, Tensor] | None = None,
    before: Manifest | None = None,
) -> PartedWeights:
    """The version's weights; by deltas from those `held`, which `before` describes, else from anchors.

    files: of each part its manifest, and its delta or anchor.

    Raises:
        BadWeights: a part is damaged, or of another version.
    """
    if held is not None and (before is None or before.state != index.parent):
        raise WrongParent(f"version {index.version} follows {index.parent}, which is not held")
    state, entries = dict[str, Tensor](), list[TensorEntry]()
    for tensor, entry in _tensors(index, files, held, before):
        state[entry.name] = tensor
        entries.append(entry)
    return PartedWeights(state, Manifest(index.version, index.parent, tuple(entries), index.state))


def _tensors(
    index: PartIndex,
    files: Iterable[Files],
    held: Mapping[str, Tensor] | None,
    before: Manifest | None,
) -> Iterator[tuple[Tensor, TensorEntry]]:
    """Whole tensors in the order of their names; rows wait for the rest of theirs."""
    waiting = list[Tensor]()
    for part, (told, data) in zip(index.parts, files, strict=True):
        manifest = manifest_of(part, told)
        stood = None if held is None or before is None else _before(part, manifest, held, before)
        state = read_part(manifest, data, stood)
        if part.rows is None:
            for entry in manifest.tensors:
                yield state[entry.name], entry
            continue
        waiting.append(state[part.first])
        if part.rows.stop == part.rows.shape[0]:
            yield _joined(part.first, part.rows, waiting)
            waiting = []


def _before(
    part: Part, manifest: Manifest, held: Mapping[str, Tensor], before: Manifest
) -> PartWeights:
    """The same part of the version that is held."""
    missing = [each.name for each in manifest.tensors if each.name not in held]
    if missing:
        raise WrongTensors(f"version {before.version} has no {missing[0]}, which its successor has")
    forms = tuple((each.name, tuple(held[each.name].shape)) for each in manifest.tensors)
    rows = None if part.rows is None else (part.rows.start, part.rows.stop)
    return part_of(held, Planned(forms, rows), before.version, None, before)


def _joined(name: str, rows: Rows, waiting: Sequence[Tensor]) -> tuple[Tensor, TensorEntry]:
    tensor = torch.cat(list(waiting))
    digest = sha256_digest(weight_bytes(name, tensor).data)
    if digest != rows.digest or tuple(tensor.shape) != rows.shape:
        raise WrongTarget(f"the rows of {name} make {digest}, expected {rows.digest}")
    return tensor, TensorEntry(name, DTYPE, rows.shape, digest)
