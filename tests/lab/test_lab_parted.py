"""What a lab knows of versions in parts: read once, bounded, and nothing where a document is gone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from archipel.blobs.errors import BlobMissing
from archipel.lab import parted, refusals
from archipel.lab.parted import Parted
from archipel.records.chain import Publication
from archipel.records.fields import BlobRef
from archipel.records.weight_parts import (
    MAX_INDEX_BYTES,
    MAX_LIST_BYTES,
    BadParts,
    InParts,
    Part,
    PartBlobs,
    PartIndex,
)
from people import ref

STATE = ref(b"state").digest
MANIFESTS, ANCHORS, DELTAS = (
    tuple(ref(f"{word} {number}".encode()) for number in range(2))
    for word in ("manifest", "anchor", "delta")
)
ALL_BYTES = sum(each.size for each in (*MANIFESTS, *ANCHORS, *DELTAS))


class Store:
    """Documents, and how often they were read."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.reads = 0

    def put(self, data: bytes) -> BlobRef:
        self.held[ref(data).digest] = data
        return ref(data)

    def read_bytes(self, digest: str, max_bytes: int) -> bytes:
        self.reads += 1
        data = self.held.get(digest)
        if data is None:
            raise BlobMissing(digest)
        assert len(data) <= max_bytes
        return data


def published(store: Store, version: int = 3, **said: Any) -> Publication:
    parts = tuple(
        Part(manifest=each, state=STATE, first=name, last=name, tensors=1, weights=1)
        for name, each in zip("ab", MANIFESTS, strict=True)
    )
    index = PartIndex(version=version, parent=None, state=STATE, weights=2, parts=parts)
    named = store.put(index.to_bytes())
    anchor, delta = (
        store.put(PartBlobs(of=of, state=STATE, blobs=blobs).to_bytes())
        for of, blobs in (("anchor", ANCHORS), ("delta", DELTAS))
    )
    manifest = InParts(digest=named.digest, size=named.size, parts=2)
    return replace(Publication(version, STATE, manifest, anchor, delta), **said)


@pytest.fixture
def store() -> Store:
    return Store()


def digests_of(known: Parted, versions: list[Publication]) -> set[str]:
    """Of all blobs of their parts, as `needed` asks for them."""
    return {digest for made in versions for digest in known._digests(made)}


def test_of_each_step_the_blobs_are_told_that_it_takes(store: Store) -> None:
    both, known = published(store), Parted(store)
    assert known.known(both) == ()
    assert known.blobs_of(both) == (*MANIFESTS, *ANCHORS, *DELTAS) == known.known(both)
    for made, step, told in (
        (both, "anchor", ANCHORS),
        (both, "delta", DELTAS),
        (replace(both, anchor=None), "delta", DELTAS),
        (replace(both, delta=None), "anchor", ANCHORS),
    ):
        assert known.weights_of(made, step) == (*MANIFESTS, *told)
    whole = replace(both, manifest=MANIFESTS[0])
    reads = store.reads
    assert known.blobs_of(whole) == known.weights_of(whole, "anchor") == ()
    assert digests_of(known, [whole]) == set()
    known.require(whole, store.read_bytes, lambda blob: False, 0)  # type: ignore[arg-type]  # never called
    assert store.reads == reads


def test_documents_are_read_once_and_remembered_within_bounds(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parted, "MAX_REMEMBERED", 2)
    known, made = Parted(store), [published(store, version) for version in (1, 2, 3)]
    for each in made[:2] * 2:
        known.blobs_of(each)
    assert store.reads == 6
    known.blobs_of(made[2])
    assert [bool(known.known(each)) for each in made] == [False, True, True]
    monkeypatch.setattr(parted, "MAX_PACKED", 1)
    digests = {each.digest for each in (*MANIFESTS, *ANCHORS, *DELTAS)}
    assert digests_of(known, made[2:]) == digests_of(known, made[2:]) == digests
    assert len(known._packed) == 1
    store.held.clear()
    assert digests_of(known, made[2:]) == digests, "what was read holds for ever"
    assert digests_of(known, made[:1]) == set(), "and what is gone names nothing"
    assert digests_of(known, [*made[:1], *made[2:]]) == digests


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 4},
        {"policy": ref(b"other").digest},
        {"anchor": ref(b"none")},
        {"manifest": InParts(digest=STATE, size=MAX_INDEX_BYTES + 1, parts=2)},
        {"delta": BlobRef(digest=STATE, size=MAX_LIST_BYTES + 1)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_documents_of_another_version_or_too_large_are_none(
    store: Store, wrong: dict[str, Any]
) -> None:
    made = replace(published(store), **wrong)
    store.held[ref(b"none").digest] = b"none"
    with pytest.raises(BadParts):
        Parted(store).blobs_of(made)
    assert digests_of(Parted(store), [made]) == set()


def test_an_index_of_another_number_of_parts_and_lists_that_are_changed_over_are_none(
    store: Store,
) -> None:
    made = published(store)
    three = made.manifest.model_copy(update={"parts": 3})
    for wrong in (
        replace(made, manifest=three),
        replace(made, anchor=made.delta),
        replace(made, delta=made.anchor),
    ):
        with pytest.raises(BadParts):
            Parted(store).blobs_of(wrong)
    with pytest.raises(BadParts, match="nobody said where"):
        Parted().blobs_of(made)


def test_a_version_is_taken_in_with_all_its_parts_within_its_bytes(store: Store) -> None:
    made, known = published(store), Parted()

    def read(blob: BlobRef) -> bytes:
        return store.read_bytes(blob.digest, blob.size)

    known.require(made, read, lambda blob: True, ALL_BYTES)
    here: Callable[[BlobRef], bool] = lambda blob: blob != DELTAS[1]  # noqa: E731  one word
    for is_here, most, told in (
        (lambda blob: True, ALL_BYTES - 1, refusals.TooLarge),
        (here, ALL_BYTES, refusals.MissingBlob),
    ):
        with pytest.raises(told):
            known.require(made, read, is_here, most)
    with pytest.raises(refusals.BadResult, match="version 4"):
        known.require(replace(made, version=4, policy=ref(b"x").digest, anchor=None), read, here, ALL_BYTES)  # fmt: skip
