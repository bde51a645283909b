"""A version's weights in parts: an index that names them, and lists of the blobs that hold them.

A part is a stretch of the version's tensors in the order of their names, or some rows of one tensor. It has a manifest,
an anchor and a delta of its own, in the forms that a version of few weights has whole: a part's delta follows from that
part alone. A record names the index where it names the manifest of other versions, and says that it is one (`InParts`).
Parts: `InParts`; `PartIndex` of `Part`, `PartBlobs`; `read_index`, `read_blobs`; a part's own manifest stands
in `part_manifest`.
Laws: the parts follow each other in the order of names, without overlap, so that whoever reads one manifest after the
other finds the digest that the version has unparted (`weight_state`); every count is bounded before anything is kept.
"""

import math
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical
from archipel.records.fields import (
    MAX_SEQ,
    BlobRef,
    Closed,
    Digest,
    LeftOut,
    Sparing,
    VersionNumber,
)

MAX_PARTS = 4096
"""Of one version: at 2 TB half a gigabyte each."""
MAX_INDEX_BYTES = 4 * 1024 * 1024
MAX_LIST_BYTES = 1024 * 1024
MAX_PART_TENSORS = 65_536
MAX_RANK = 4
WEIGHT_BYTES = 2
"""Of one weight: bf16."""

TensorName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.]{0,199}$")]
Size = Annotated[int, Field(ge=0, le=MAX_SEQ)]
Shape = Annotated[tuple[Size, ...], Field(max_length=MAX_RANK)]


class BadParts(ValueError):
    """A document of a version in parts cannot be used; the message says why."""


class InParts(BlobRef):
    """An index, where a record names a manifest: this version's anchor and delta are lists of blobs."""

    parts: Annotated[int, Field(ge=1, le=MAX_PARTS)]
    """How many it has."""

    @property
    def plain(self) -> BlobRef:
        """The same bytes, for whoever does not ask what they are."""
        return BlobRef(digest=self.digest, size=self.size)


class Rows(Closed):
    """Which rows of a tensor a part holds, and what the whole tensor is."""

    start: Size
    """The first of them, along dimension 0."""
    stop: Size
    """After the last."""
    shape: Annotated[tuple[Size, ...], Field(min_length=1, max_length=MAX_RANK)]
    """Of the whole tensor."""
    digest: Digest
    """Of all its bytes: every part of one tensor says the same."""

    @model_validator(mode="after")
    def _some_of_them(self) -> Self:
        if not self.start < self.stop <= self.shape[0]:
            raise ValueError(
                f"rows {self.start} to {self.stop} of a tensor of {self.shape[0]}; expected some of them"
            )
        if self.stop - self.start == self.shape[0]:
            raise ValueError("all rows of a tensor; expected a part without rows")
        return self


class Part(Sparing):
    """One part, without its bytes."""

    manifest: BlobRef
    """Names, shapes and digests of its tensors."""
    state: Digest
    """State digest of what its manifest names."""
    first: TensorName
    last: TensorName
    """Names of its first and its last tensor."""
    tensors: Annotated[int, Field(ge=1, le=MAX_PART_TENSORS)]
    weights: Size
    """Numbers in them."""
    rows: Annotated[Rows | None, LeftOut] = None
    """Of a part that holds some of a tensor; None: its tensors are whole."""

    @property
    def num_bytes(self) -> int:
        """Of its tensors."""
        return WEIGHT_BYTES * self.weights

    @model_validator(mode="after")
    def _one_tensor_by_rows(self) -> Self:
        if self.first > self.last or (self.tensors == 1) != (self.first == self.last):
            raise ValueError(f"{self.tensors} tensors from {self.first} to {self.last}")
        if self.rows is not None:
            _, *rest = self.rows.shape
            if self.weights != (self.rows.stop - self.rows.start) * math.prod(rest) or (
                self.tensors != 1
            ):
                raise ValueError(f"{self.weights} weights are not those rows of {self.first}")
        return self


class PartIndex(Closed):
    """What a version in parts is."""

    format: Literal["archipel/weights-in-parts/1"] = "archipel/weights-in-parts/1"
    version: VersionNumber
    parent: Digest | None
    """`state` of the version before; None for the first."""
    state: Digest
    """The version's state digest: the same as if it were not in parts."""
    weights: Size
    """Numbers in all tensors."""
    parts: Annotated[tuple[Part, ...], Field(min_length=1, max_length=MAX_PARTS)]

    @property
    def num_bytes(self) -> int:
        """Of all tensors."""
        return WEIGHT_BYTES * self.weights

    @model_validator(mode="after")
    def _parts_are_all(self) -> Self:
        for before, after in zip(self.parts, self.parts[1:], strict=False):
            _check_order(before, after)
        _check_order(self.parts[-1], None)
        if self.parts[0].rows is not None and self.parts[0].rows.start:
            raise ValueError(f"{self.parts[0].first} begins at row {self.parts[0].rows.start}")
        if self.weights != sum(each.weights for each in self.parts):
            raise ValueError(f"{self.weights} weights are not the sum of the parts'")
        return self

    def to_bytes(self) -> bytes:
        """Canonical JSON.

        Raises:
            BadParts: longer than any reader takes.
        """
        return _bounded(canonical_json(self.model_dump(mode="json")), MAX_INDEX_BYTES, "index")


class PartBlobs(Closed):
    """The blobs that hold a version's parts: their anchors, or their deltas."""

    format: Literal["archipel/parts/1"] = "archipel/parts/1"
    of: Literal["anchor", "delta"]
    state: Digest
    """State digest of the version."""
    blobs: Annotated[tuple[BlobRef, ...], Field(min_length=1, max_length=MAX_PARTS)]
    """One for each part, in the index's order."""

    @property
    def num_bytes(self) -> int:
        """Of all of them."""
        return sum(each.size for each in self.blobs)

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return _bounded(canonical_json(self.model_dump(mode="json")), MAX_LIST_BYTES, "list")


D = TypeVar("D", PartIndex, PartBlobs)


def read_index(data: bytes) -> PartIndex:
    """What `PartIndex.to_bytes` wrote.

    Raises:
        BadParts: too long, not canonical, or it contradicts itself.
    """
    return _read(PartIndex, data, MAX_INDEX_BYTES, "index of a version in parts")


def read_blobs(data: bytes, index: PartIndex, of: Literal["anchor", "delta"]) -> PartBlobs:
    """What `PartBlobs.to_bytes` wrote, of this version.

    Raises:
        BadParts: too long, not canonical, or of other parts.
    """
    said = _read(PartBlobs, data, MAX_LIST_BYTES, "list of a version's parts")
    if (said.of, said.state, len(said.blobs)) != (of, index.state, len(index.parts)):
        raise BadParts(
            f"a list of {len(said.blobs)} {said.of} blobs of {said.state}; expected {len(index.parts)} {of} blobs of "
            f"{index.state}"
        )
    return said


def _check_order(before: Part, after: Part | None) -> None:
    """Whether a part goes on where the one before ends."""
    rows, more = before.rows, None if after is None else after.rows
    if rows is not None and rows.stop < rows.shape[0]:
        ahead = (rows.stop, rows.shape, rows.digest)
        if (
            after is None
            or more is None
            or after.first != before.first
            or (more.start, more.shape, more.digest) != ahead
        ):
            raise ValueError(f"{before.first} ends at row {rows.stop} of {rows.shape[0]}")
    elif after is not None:
        if after.first <= before.last:
            raise ValueError(f"{after.first} comes after {before.last}; expected ascending names")
        if more is not None and more.start:
            raise ValueError(f"{after.first} begins at row {more.start}")


def _bounded(data: bytes, most: int, what: str) -> bytes:
    if len(data) > most:
        raise BadParts(f"{what} of {len(data)} bytes; at most {most} are read: make fewer parts")
    return data


def _read(form: type[D], data: bytes, most: int, what: str) -> D:
    if len(data) > most:
        raise BadParts(f"{what}: {len(data)} bytes; at most {most} are read")
    try:
        parse_canonical(data)
        return form.model_validate_json(data)
    except NotCanonical as error:
        raise BadParts(f"{what}: {error!s:.200}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"])) or "document"
        raise BadParts(f"{what}: {where}: {fault['msg']:.300}") from None
