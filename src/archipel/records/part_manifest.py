"""The manifest of one part of a version, read without a tensor library; the forms are those of a version that is whole.

Parts: `TensorFact`, `tensors_of`, `part_manifest`, `whole_tensors`. Law: a manifest names exactly the tensors that the
index says of its part, in ascending order; `model.manifest` is the reference of the form.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical
from archipel.records.fields import MAX_SEQ
from archipel.records.weight_parts import MAX_RANK, BadParts, Part

MAX_PART_MANIFEST_BYTES = 8 * 1024 * 1024
MANIFEST_FORMAT = "archipel/weights/1"
DTYPE = "bfloat16"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,199}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KEYS = frozenset({"format", "version", "parent", "state", "tensors"})


@dataclass(frozen=True, slots=True)
class TensorFact:
    """One tensor of a part's manifest."""

    name: str
    shape: tuple[int, ...]
    digest: str

    @property
    def num_weights(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def fields(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return {
            "name": self.name,
            "dtype": DTYPE,
            "shape": list(self.shape),
            "digest": self.digest,
        }


def tensors_of(data: bytes, part: Part) -> tuple[TensorFact, ...]:
    """The tensors that a part's manifest names, in order; its digest is the caller's to check.

    Raises:
        BadParts: it is none, or of another part.
    """
    if len(data) > MAX_PART_MANIFEST_BYTES:
        raise BadParts(
            f"a part's manifest of {len(data)} bytes; at most {MAX_PART_MANIFEST_BYTES} are read"
        )
    try:
        fields = parse_canonical(data)
    except NotCanonical as error:
        raise BadParts(f"a part's manifest: {error!s:.200}") from None
    if (
        not isinstance(fields, dict)
        or fields.keys() != _KEYS
        or fields["format"] != MANIFEST_FORMAT
        or not isinstance(fields["tensors"], list)
        or len(fields["tensors"]) != part.tensors
    ):
        raise BadParts(
            f"a part's manifest needs format {MANIFEST_FORMAT}, the fields {', '.join(sorted(_KEYS))} and "
            f"{part.tensors} tensors"
        )
    found = tuple(_tensor(each) for each in fields["tensors"])
    names = [each.name for each in found]
    if (names[0], names[-1]) != (part.first, part.last) or names != sorted(set(names)):
        raise BadParts(f"a part's manifest does not name tensors {part.first} to {part.last}")
    if sum(each.num_weights for each in found) != part.weights or fields["state"] != part.state:
        raise BadParts(f"a part's manifest is not of {part.weights} weights with {part.state}")
    return found


def part_manifest(
    tensors: Sequence[TensorFact], state: str, version: int, parent: str | None
) -> bytes:
    """The manifest of a part with these tensors, in order, whose state digest is `state`.

    parent: state digest of the same part one version before.
    """
    return canonical_json(
        {
            "format": MANIFEST_FORMAT,
            "version": version,
            "parent": parent,
            "state": state,
            "tensors": [each.fields() for each in tensors],
        }
    )


def whole_tensors(part: Part, tensors: Sequence[TensorFact]) -> Sequence[TensorFact]:
    """Those that end with this part, as they are whole."""
    rows = part.rows
    if rows is None:
        return tensors
    if tensors[0].shape != (rows.stop - rows.start, *rows.shape[1:]):
        raise BadParts(f"{part.first} has shape {tensors[0].shape}; its rows say otherwise")
    if rows.stop < rows.shape[0]:
        return ()
    return (TensorFact(part.first, rows.shape, rows.digest),)


def _tensor(item: Any) -> TensorFact:
    if not isinstance(item, dict) or item.keys() != {"name", "dtype", "shape", "digest"}:
        raise BadParts("a tensor needs exactly the fields name, dtype, shape and digest")
    name, shape, digest = item["name"], item["shape"], item["digest"]
    if not isinstance(name, str) or not _NAME.fullmatch(name) or item["dtype"] != DTYPE:
        raise BadParts(f"{name!r:.80} is no name of a tensor of {DTYPE}")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise BadParts(f"digest of {name} is not sha256:<64 hex>")
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_RANK
        or not all(type(each) is int and 0 <= each <= MAX_SEQ for each in shape)
    ):
        raise BadParts(f"{name} has no shape of at most {MAX_RANK} sizes")
    return TensorFact(name, tuple(shape), digest)
