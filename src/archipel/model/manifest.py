"""What a version of the weights is, without its bytes: names, forms, digests.

Parts: `TensorEntry`, `Manifest`, `describe`; the errors of this and of `versions`.
Law: a manifest has one encoding, and its `state` follows from its tensors (of an adapter also from its form
and from its base), so that two manifests with the same `state` speak of the same policy.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from archipel.records.adapter import AdapterForm
from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical, sha256_digest

FORMAT = "archipel/weights/1"
MAX_MANIFEST_BYTES = 8 * 1024 * 1024
MAX_TENSORS = 65_536
MAX_RANK = 4
MAX_STATE_BYTES = 256 * 1024**3
"""All tensors of one version together."""
MAX_VERSION = 2**31 - 1

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,199}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
DTYPE = "bfloat16"
_BYTES_PER_WEIGHT = 2


class BadWeights(ValueError):
    """Weights or their description cannot be used; the subclass says why."""


class BadManifest(BadWeights):
    """The manifest itself is malformed or contradicts itself."""


class WrongParent(BadWeights):
    """A delta was offered to other weights than it starts from: wrong order or a missing version."""


class WrongTarget(BadWeights):
    """The bytes lead to another version than the one that was asked for."""


class WrongTensors(BadWeights):
    """Tensors differ in name, type or shape from what the manifest says."""


class TooLarge(BadWeights):
    """A size exceeds its named limit."""


class CorruptWeights(BadWeights):
    """The bytes are damaged: they do not decode, or not to what their digest says."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor: its name, form, and the digest of its little-endian row-major bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str

    @property
    def form(self) -> tuple[str, str, tuple[int, ...]]:
        """Everything but the values."""
        return self.name, self.dtype, self.shape

    @property
    def num_weights(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def fields(self) -> dict[str, Any]:
        """As it stands in the manifest's JSON."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "shape": list(self.shape),
            "digest": self.digest,
        }


@dataclass(frozen=True, slots=True)
class Over:
    """What an adapter is, besides its tensors: its form, and the whole weights that it lies over."""

    base: str
    """`state` of those weights, in bf16."""
    form: AdapterForm

    def fields(self) -> dict[str, Any]:
        """As it stands in the manifest's JSON."""
        return {"base": self.base, **self.form.model_dump(mode="json")}

    @classmethod
    def of(cls, fields: Any) -> Self:
        """Read what `fields` gave.

        Raises:
            BadManifest: it is not that.
        """
        if not isinstance(fields, dict) or not is_digest(fields.get("base")):
            raise BadManifest("adapter needs base, sha256:<64 hex>, and an adapter's form")
        form = {name: value for name, value in fields.items() if name != "base"}
        try:
            return cls(fields["base"], AdapterForm.model_validate_json(canonical_json(form)))
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(("adapter", *map(str, fault["loc"])))
            raise BadManifest(f"{where}: {fault['msg']}") from None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A policy version: which tensors it has and how to recognise each.

    state: the digest of the canonical JSON list of the tensors' entries, ordered by name; of an adapter,
    of that list and of what it is over. It names the whole state without a second pass over the bytes.
    """

    version: int
    parent: str | None
    """`state` of the version before; None for the first."""
    tensors: tuple[TensorEntry, ...]
    state: str
    over: Over | None = None
    """Of an adapter; None: the tensors are a whole model. Not written then."""

    def __post_init__(self) -> None:
        if type(self.version) is not int or not 0 <= self.version <= MAX_VERSION:
            raise BadManifest(f"version is {self.version!r:.40}; expected 0 to {MAX_VERSION}")
        if self.parent is not None and not is_digest(self.parent):
            raise BadManifest(f"parent is {self.parent!r:.80}; expected sha256:<64 hex> or null")
        if not 1 <= len(self.tensors) <= MAX_TENSORS:
            raise TooLarge(f"{len(self.tensors)} tensors; expected 1 to {MAX_TENSORS}")
        for entry in self.tensors:
            _check_entry(entry)
        names = [entry.name for entry in self.tensors]
        if names != sorted(set(names)):
            raise BadManifest("tensors are not in ascending order of distinct names")
        if self.num_bytes > MAX_STATE_BYTES:
            raise TooLarge(f"state of {self.num_bytes} bytes; the limit is {MAX_STATE_BYTES}")
        if self.state != _state_digest(self.tensors, self.over):
            raise BadManifest(
                f"state is {self.state!r:.80}, which is not the digest of its tensors"
            )

    @property
    def num_bytes(self) -> int:
        """Size of all tensors together."""
        return _BYTES_PER_WEIGHT * sum(entry.num_weights for entry in self.tensors)

    @property
    def forms(self) -> list[tuple[str, str, tuple[int, ...]]]:
        """Names, types and shapes."""
        return [entry.form for entry in self.tensors]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(
            {
                "format": FORMAT,
                "version": self.version,
                "parent": self.parent,
                "state": self.state,
                "tensors": [entry.fields() for entry in self.tensors],
                **_adapter(self.over),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what `to_bytes` wrote.

        Raises:
            TooLarge: more bytes, tensors or weights than the named limits.
            BadManifest: not canonical, an unknown field, a field out of range, or a `state` that
                is not the digest of the tensors.
        """
        if len(data) > MAX_MANIFEST_BYTES:
            raise TooLarge(f"manifest of {len(data)} bytes; the limit is {MAX_MANIFEST_BYTES}")
        try:
            fields = parse_canonical(data)
        except NotCanonical as error:
            raise BadManifest(f"manifest: {error}") from None
        expected = {"format", "version", "parent", "state", "tensors"}
        if not isinstance(fields, dict) or fields.keys() - {"adapter"} != expected:
            raise BadManifest(
                f"manifest needs the fields {sorted(expected)}, and only an adapter's has one more"
            )
        if fields["format"] != FORMAT:
            raise BadManifest(f"format is {fields['format']!r:.60}; this reader knows {FORMAT}")
        if not isinstance(fields["tensors"], list):
            raise BadManifest("tensors is not a list")
        if len(fields["tensors"]) > MAX_TENSORS:
            raise TooLarge(f"{len(fields['tensors'])} tensors; the limit is {MAX_TENSORS}")
        entries = tuple(_entry(item) for item in fields["tensors"])
        over = Over.of(fields["adapter"]) if "adapter" in fields else None
        return cls(fields["version"], fields["parent"], entries, fields["state"], over)


def describe(
    state: Mapping[str, Tensor], version: int, parent: str | None, over: Over | None = None
) -> Manifest:
    """The manifest of a state: bf16 tensors by name.

    parent: `state` of the manifest before, or None for the first version. over: of an adapter's tensors.

    Raises:
        WrongTensors: a tensor is not bfloat16.
    """
    entries = tuple(
        TensorEntry(
            name, DTYPE, tuple(tensor.shape), sha256_digest(weight_bytes(name, tensor).data)
        )
        for name, tensor in sorted(state.items())
    )
    return Manifest(version, parent, entries, _state_digest(entries, over), over)


def require_bfloat16(name: str, tensor: Tensor) -> None:
    """Refuse weights of another type.

    Raises:
        WrongTensors: not bfloat16.
    """
    if tensor.dtype != torch.bfloat16:
        raise WrongTensors(f"{name} is {tensor.dtype}; publish bfloat16 tensors")


def weight_bytes(name: str, tensor: Tensor) -> np.ndarray:
    """The tensor's bit patterns as a flat little-endian uint16 array; shares memory if it can.

    Raises:
        WrongTensors: not bfloat16.
    """
    require_bfloat16(name, tensor)
    flat = tensor.detach().cpu().contiguous().view(torch.int16).reshape(-1).numpy()
    return flat.view(np.uint16).astype("<u2", copy=False)


def _state_digest(entries: tuple[TensorEntry, ...], over: Over | None) -> str:
    listed = [entry.fields() for entry in entries]
    whole = listed if over is None else {"tensors": listed, **_adapter(over)}
    return sha256_digest(canonical_json(whole))


def _adapter(over: Over | None) -> dict[str, Any]:
    return {} if over is None else {"adapter": over.fields()}


def is_digest(value: object) -> bool:
    """Whether `value` is `sha256:` and 64 lower-case hexadecimal digits."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _entry(item: object) -> TensorEntry:
    if not isinstance(item, dict) or item.keys() != {"name", "dtype", "shape", "digest"}:
        raise BadManifest("a tensor needs exactly the fields name, dtype, shape, digest")
    if not isinstance(item["shape"], list):
        raise BadManifest("a tensor's shape is not a list")
    return TensorEntry(item["name"], item["dtype"], tuple(item["shape"]), item["digest"])


def _check_entry(entry: TensorEntry) -> None:
    if not isinstance(entry.name, str) or not _NAME.fullmatch(entry.name):
        raise BadManifest(f"tensor name {entry.name!r:.80} is not letters, digits, '_' and '.'")
    if entry.dtype != DTYPE:
        raise BadManifest(f"{entry.name} is {entry.dtype!r:.40}; this format holds {DTYPE}")
    if not is_digest(entry.digest):
        raise BadManifest(f"digest of {entry.name} is not sha256:<64 hex>")
    if len(entry.shape) > MAX_RANK or not all(
        type(size) is int and 0 <= size <= MAX_STATE_BYTES for size in entry.shape
    ):
        raise BadManifest(
            f"shape of {entry.name} is {entry.shape!r:.80}; expected <= {MAX_RANK} sizes"
        )
