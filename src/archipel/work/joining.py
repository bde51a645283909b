"""From what each process wrote to a version's index: receipts and manifests, never a tensor.

Parts: `Receipt` (what one part's writer tells), `join`. Law: the version's digest is computed here from the parts'
manifests, one after the other; memory is bounded by the receipts and one manifest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.fields import BlobRef, Closed
from archipel.records.part_manifest import tensors_of, whole_tensors
from archipel.records.weight_parts import BadParts, Part, PartBlobs, PartIndex
from archipel.records.weight_state import StateHasher

MAX_RECEIPT_BYTES = 8192


class Receipt(Closed):
    """What whoever wrote one part says of it."""

    number: int
    """Of the part, in the order of names."""
    part: Part
    anchor: BlobRef | None
    delta: BlobRef | None

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Receipt":
        """Read what `to_bytes` wrote.

        Raises:
            BadParts: it is none.
        """
        if len(data) > MAX_RECEIPT_BYTES:
            raise BadParts(f"a part's receipt of {len(data)} bytes; at most {MAX_RECEIPT_BYTES}")
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            raise BadParts(f"a part's receipt: {fault['loc']!r:.100}: {fault['msg']}") from None


@dataclass(frozen=True, slots=True)
class Joined:
    """The documents of a version in parts."""

    index: PartIndex
    anchor: PartBlobs | None
    """None: at least one part was not written whole."""
    delta: PartBlobs | None


def join(
    receipts: Sequence[Receipt],
    read: Callable[[BlobRef], bytes],
    version: int,
    parent: str | None,
) -> Joined:
    """The documents of version `version`, whose parent has this state digest.

    receipts: of all parts, in any order. read: a part's manifest; it is hashed here.

    Raises:
        BadParts: a part is missing or there twice, a manifest is another one's, or names overlap.
    """
    ordered = sorted(receipts, key=lambda each: each.number)
    numbers = [each.number for each in ordered]
    if numbers != list(range(len(ordered))) or not ordered:
        raise BadParts(
            f"receipts of parts {numbers!s:.200}; expected each from 0 to {max(numbers, default=0)} once"
        )
    hasher, weights = StateHasher(), 0
    for each in ordered:
        data = read(each.part.manifest)
        if sha256_digest(data) != each.part.manifest.digest:
            raise BadParts(f"the manifest of part {each.number} is not {each.part.manifest.digest}")
        hasher.add(whole_tensors(each.part, tensors_of(data, each.part)))
        weights += each.part.weights
    try:
        index = PartIndex(
            version=version,
            parent=parent,
            state=hasher.state,
            weights=weights,
            parts=tuple(each.part for each in ordered),
        )
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise BadParts(f"the parts do not make a version: {fault['msg']}") from None
    anchors = [each.anchor for each in ordered if each.anchor is not None]
    deltas = [each.delta for each in ordered if each.delta is not None]
    whole, state = len(ordered), index.state
    return Joined(
        index,
        PartBlobs(of="anchor", state=state, blobs=tuple(anchors))
        if len(anchors) == whole
        else None,
        PartBlobs(of="delta", state=state, blobs=tuple(deltas)) if len(deltas) == whole else None,
    )
