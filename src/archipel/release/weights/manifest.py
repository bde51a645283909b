"""What a version of the weights is: names, forms and digests of its tensors, as `model.manifest` writes it.

Law: a manifest has one encoding, and its `state` follows from its tensors, of an adapter also from its form and base.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from archipel.records.adapter import AdapterForm
from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical, sha256_digest

FORMAT = "archipel/weights/1"
MAX_MANIFEST_BYTES = 8 * 1024 * 1024
MAX_TENSORS = 65_536
MAX_RANK = 4
MAX_STATE_BYTES = 256 * 1024**3
DTYPE = "bfloat16"
WIDTH = 2
"""Bytes of a weight."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,199}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KEYS = frozenset({"format", "version", "parent", "state", "tensors"})


class BadVersion(ValueError):
    """A manifest, anchor or delta that is malformed, or leads elsewhere; the message says what and where."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: name, form, digest of its little-endian row-major bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str

    @property
    def size(self) -> int:
        """In bytes."""
        return WIDTH * math.prod(self.shape)

    def fields(self) -> dict[str, Any]:
        """As in a manifest."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "digest": self.digest,
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """A version."""

    version: int
    parent: str | None
    state: str
    tensors: tuple[Tensor, ...]
    adapter: dict[str, Any] | None = None
    """Form and base, of an adapter."""

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(each.size for each in self.tensors)

    @property
    def parameters(self) -> int:
        """Numbers in them."""
        return self.size // WIDTH

    @property
    def forms(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes."""
        return [(each.name, each.shape) for each in self.tensors]


def state_digest(tensors: Iterable[Tensor], adapter: dict[str, Any] | None = None) -> str:
    """What names a state: of its tensors in the order of their names, and of an adapter's form and base."""
    listed = [each.fields() for each in sorted(tensors, key=lambda each: each.name)]
    return sha256_digest(
        canonical_json(listed if adapter is None else {"tensors": listed, "adapter": adapter})
    )


def read_manifest(data: bytes) -> Manifest:
    """A version's manifest.

    Raises:
        BadVersion: too large, malformed, or it contradicts itself.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BadVersion(f"a manifest of {len(data)} bytes; at most {MAX_MANIFEST_BYTES}")
    try:
        fields = parse_canonical(data)
    except NotCanonical as error:
        raise BadVersion(f"the manifest is {error!s:.200}") from None
    if not isinstance(fields, dict) or fields.keys() - {"adapter"} != _KEYS:
        raise BadVersion(f"a manifest needs the fields {', '.join(sorted(_KEYS))}")
    if fields["format"] != FORMAT:
        raise BadVersion(f"a manifest of format {fields['format']!r:.60}; expected {FORMAT}")
    tensors, version, parent = fields["tensors"], fields["version"], fields["parent"]
    if not isinstance(tensors, list) or not 1 <= len(tensors) <= MAX_TENSORS:
        raise BadVersion(f"a manifest needs a list of 1 to {MAX_TENSORS} tensors")
    if type(version) is not int or version < 0 or not (parent is None or _is_digest(parent)):
        raise BadVersion("a manifest's version or parent is malformed")
    adapter = _adapter(fields["adapter"]) if "adapter" in fields else None
    made = Manifest(version, parent, fields["state"], _tensors(tensors), adapter)
    if made.state != state_digest(made.tensors, adapter):
        raise BadVersion(
            f"the manifest of version {version} names a state that is not its tensors'"
        )
    return made


def _tensors(listed: list[Any]) -> tuple[Tensor, ...]:
    found = tuple(_tensor(each) for each in listed)
    names = [each.name for each in found]
    if names != sorted(set(names)):
        raise BadVersion("a manifest's tensors are not in the order of distinct names")
    if sum(each.size for each in found) > MAX_STATE_BYTES:
        raise BadVersion(f"a state of more than {MAX_STATE_BYTES} bytes")
    return found


def _tensor(item: Any) -> Tensor:
    if not isinstance(item, dict) or item.keys() != {"name", "dtype", "shape", "digest"}:
        raise BadVersion("a tensor of a manifest needs exactly name, dtype, shape and digest")
    name, shape = item["name"], item["shape"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadVersion(f"{name!r:.80} is no tensor's name")
    if item["dtype"] != DTYPE or not _is_digest(item["digest"]):
        raise BadVersion(f"{name} is not {DTYPE} with a digest")
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_RANK
        or not all(type(each) is int and 0 <= each <= MAX_STATE_BYTES for each in shape)
    ):
        raise BadVersion(f"{name} has no shape of at most {MAX_RANK} sizes")
    return Tensor(name, DTYPE, tuple(shape), item["digest"])


def _adapter(fields: Any) -> dict[str, Any]:
    if not isinstance(fields, dict) or not _is_digest(fields.get("base")):
        raise BadVersion("an adapter's manifest needs a base and a form")
    form = {name: value for name, value in fields.items() if name != "base"}
    try:
        AdapterForm.model_validate_json(canonical_json(form))
    except ValidationError as error:
        raise BadVersion(f"the adapter's form: {error.errors()[0]['msg']}") from None
    return fields


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
