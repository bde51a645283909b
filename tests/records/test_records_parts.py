"""Documents of a version in parts: what they may say of each other, and what no reader takes."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.part_manifest import (
    MAX_PART_MANIFEST_BYTES,
    TensorFact,
    part_manifest,
    tensors_of,
    whole_tensors,
)
from archipel.records.weight_parts import (
    MAX_INDEX_BYTES,
    MAX_LIST_BYTES,
    MAX_PARTS,
    BadParts,
    InParts,
    Part,
    PartBlobs,
    PartIndex,
    Rows,
    read_blobs,
    read_index,
)
from archipel.records.weight_state import StateHasher, state_of

DIGEST, OTHER = (sha256_digest(word) for word in (b"one", b"other"))
BLOB = BlobRef(digest=DIGEST, size=7)


def rows(start: int, stop: int, of: int = 5, digest: str = DIGEST) -> Rows:
    return Rows(start=start, stop=stop, shape=(of, 3), digest=digest)


def part(first: str, last: str = "", weights: int = 6, **said: Any) -> Part:
    tensors = {"tensors": 1 if last in ("", first) else 2} | said
    return Part(manifest=BLOB, state=DIGEST, first=first, last=last or first, weights=weights, **tensors)  # fmt: skip


def some(name: str, start: int, stop: int, **said: Any) -> Part:
    return part(name, weights=3 * (stop - start), rows=rows(start, stop, **said))


def index(*parts: Part, **said: Any) -> PartIndex:
    weights = {"weights": sum(each.weights for each in parts)} | said
    return PartIndex(version=0, parent=None, state=OTHER, parts=parts, **weights)


def test_rows_are_some_of_a_tensors_rows_and_not_all() -> None:
    for start, stop, of in ((0, 1, 2), (1, 2, 2), (1, 2, 3), (2, 5, 7), (0, 4, 5)):
        assert rows(start, stop, of).stop == stop
    for start, stop, of in ((1, 1, 2), (2, 1, 3), (1, 3, 2), (0, 2, 2), (0, 0, 2)):
        with pytest.raises(ValidationError):
            rows(start, stop, of)


def test_a_part_names_its_tensors_in_order_and_counts_their_weights() -> None:
    assert (part("a", "b", 6).num_bytes, some("a", 1, 3).num_bytes) == (12, 12)
    for wrong in (
        {"first": "b", "last": "a"},
        {"first": "a", "last": "b", "tensors": 1},
        {"first": "a", "last": "a", "tensors": 2},
        {"first": "a", "weights": 7, "rows": rows(1, 3)},
        {"first": "a", "weights": 9, "rows": rows(1, 3)},
        {"first": "a", "last": "b", "weights": 6, "rows": rows(1, 3)},
        {"first": "a", "tensors": 0},
        {"first": "/a"},
    ):
        with pytest.raises(ValidationError):
            part(**wrong)


SOUND = (part("a", "b"), some("c", 0, 2), some("c", 2, 4), some("c", 4, 5), part("d"), some("e", 0, 2), some("e", 2, 5))  # fmt: skip


def test_parts_follow_each_other_without_overlap_and_are_all() -> None:
    found = index(*SOUND)
    assert found.num_bytes == 2 * found.weights == 2 * (6 + 15 + 6 + 15)
    assert read_index(found.to_bytes()) == found
    ends = some("e", 2, 5)
    for wrong in (
        (part("b"), part("a")),
        (part("a", "b"), part("b")),
        (part("a"), part("a")),
        (part("a", "c"), part("b", "d")),
        (some("e", 0, 2),),
        (ends,),
        (part("a"), ends),
        (some("e", 0, 2), some("e", 3, 5)),
        (some("e", 0, 2), some("e", 1, 5)),
        (some("e", 0, 2), part("f")),
        (some("e", 0, 2), part("e")),
        (some("e", 0, 2), some("f", 2, 5)),
        (some("e", 0, 2), some("e", 2, 6, of=6)),
        (some("e", 0, 2), some("e", 2, 5, digest=OTHER)),
        (some("e", 0, 2), ends, part("e")),
        (some("e", 0, 2), ends, some("f", 2, 5)),
        (),
    ):
        with pytest.raises(ValidationError):
            index(*wrong)
    for off in (-1, 1):
        with pytest.raises(ValidationError, match="sum of the parts"):
            index(*SOUND, weights=found.weights + off)


def test_a_list_has_a_blob_for_each_part_of_its_version() -> None:
    found, two = index(part("a"), part("b")), (BLOB, BlobRef(digest=OTHER, size=4))
    said = PartBlobs(of="anchor", state=OTHER, blobs=two)
    assert said.num_bytes == 11
    assert read_blobs(said.to_bytes(), found, "anchor") == said
    for wrong in ({"of": "delta"}, {"state": DIGEST}, {"blobs": two[:1]}, {"blobs": (*two, BLOB)}):
        with pytest.raises(BadParts, match="expected 2 anchor blobs"):
            read_blobs(said.model_copy(update=wrong).to_bytes(), found, "anchor")
    assert InParts(digest=DIGEST, size=7, parts=2).plain == BLOB
    for parts in (0, MAX_PARTS + 1):
        with pytest.raises(ValidationError):
            InParts(digest=DIGEST, size=7, parts=parts)


def test_what_no_reader_takes_is_refused_with_where_it_is_wrong_and_never_written() -> None:
    found = index(part("a"))
    plain = json.loads(found.to_bytes())
    for data, why in (
        (b" " * (MAX_INDEX_BYTES + 1), "at most 4194304 are read"),
        (found.to_bytes() + b"\n", "index of a version in parts: "),
        (b"[]", "document"),
        (canonical_json(plain | {"unknown": 1}), "unknown"),
        (canonical_json(plain | {"weights": 7}), "not the sum"),
    ):
        with pytest.raises(BadParts, match=why):
            read_index(data)
    with pytest.raises(BadParts, match="at most 1048576 are read"):
        read_blobs(b" " * (MAX_LIST_BYTES + 1), found, "anchor")
    endless = part("a").model_copy(update={"first": "a" * MAX_INDEX_BYTES})
    with pytest.raises(BadParts, match="make fewer parts"):
        found.model_copy(update={"parts": (endless,)}).to_bytes()
    longest = PartBlobs(of="anchor", state=OTHER, blobs=(BlobRef(digest=DIGEST, size=10**12),) * MAX_PARTS)  # fmt: skip
    assert len(longest.to_bytes()) <= MAX_LIST_BYTES


FACTS = (TensorFact("a", (2, 3), DIGEST), TensorFact("b", (), OTHER), TensorFact("c", (4,), DIGEST))
PART = Part(manifest=BLOB, state=OTHER, first="a", last="c", tensors=3, weights=11)


def test_a_parts_manifest_names_the_tensors_of_its_part() -> None:
    data = part_manifest(FACTS, OTHER, 3, DIGEST)
    assert tensors_of(data, PART) == FACTS
    assert [each.num_weights for each in FACTS] == [6, 1, 4]
    told = json.loads(data)
    assert (told["version"], told["parent"]) == (3, DIGEST)
    for wrong in (
        {"first": "0"},
        {"last": "d"},
        {"weights": 10},
        {"state": DIGEST},
        {"tensors": 2},
    ):
        with pytest.raises(BadParts):
            tensors_of(data, PART.model_copy(update=wrong))


def with_tensor(**said: Any) -> dict[str, Any]:
    plain = json.loads(part_manifest(FACTS, OTHER, 3, None))
    return {"tensors": [plain["tensors"][0], plain["tensors"][1] | said, plain["tensors"][2]]}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"format": "archipel/weights/2"}, "needs format"),
        ({"unknown": 1}, "needs format"),
        ({"tensors": {}}, "needs format"),
        ({"tensors": []}, "needs format"),
        ({"tensors": [1, 2, 3]}, "exactly the fields"),
        (with_tensor(unknown=1), "exactly the fields"),
        (with_tensor(name=5), "no name"),
        (with_tensor(name="b/c"), "no name"),
        (with_tensor(name="b\n"), "no name"),
        (with_tensor(dtype="float32"), "no name"),
        (with_tensor(digest=5), "digest of b"),
        (with_tensor(digest="sha256:" + "A" * 64), "digest of b"),
        (with_tensor(digest=DIGEST + "0"), "digest of b"),
        (with_tensor(shape="x"), "no shape"),
        (with_tensor(shape=[1] * 5), "no shape"),
        (with_tensor(shape=[-1]), "no shape"),
        (with_tensor(shape=[True]), "no shape"),
        (with_tensor(name="a"), "does not name"),
        (with_tensor(name="d"), "does not name"),
        (with_tensor(shape=[2]), "is not of 11 weights"),
    ],
)
def test_a_manifest_of_another_form_is_refused(said: dict[str, Any], why: str) -> None:
    plain = json.loads(part_manifest(FACTS, OTHER, 3, None))
    with pytest.raises(BadParts, match=why):
        tensors_of(canonical_json(plain | said), PART)


def test_a_manifest_is_bounded_canonical_and_whole() -> None:
    data = part_manifest(FACTS, OTHER, 3, None)
    plain = json.loads(data)
    lacking = {name: plain[name] for name in plain if name != "parent"}
    for wrong, why in (
        (b" " * (MAX_PART_MANIFEST_BYTES + 1), "at most 8388608 are read"),
        (data + b" ", "manifest: "),
        (b"[]", "needs format"),
        (canonical_json(lacking), "needs format"),
    ):
        with pytest.raises(BadParts, match=why):
            tensors_of(wrong, PART)
    four = TensorFact("b", (1, 1, 1, 1), OTHER)
    assert tensors_of(part_manifest((FACTS[0], four, FACTS[2]), OTHER, 3, None), PART)[1] == four


def test_a_tensor_in_rows_is_heard_once_and_whole() -> None:
    assert whole_tensors(PART, FACTS) == FACTS
    first, last = some("e", 0, 2), some("e", 2, 5)
    assert whole_tensors(first, (TensorFact("e", (2, 3), OTHER),)) == ()
    assert whole_tensors(last, (TensorFact("e", (3, 3), OTHER),)) == (TensorFact("e", (5, 3), DIGEST),)  # fmt: skip
    for shape in ((2, 3), (3, 2), (3,), (5, 3)):
        with pytest.raises(BadParts, match="its rows say otherwise"):
            whole_tensors(last, (TensorFact("e", shape, OTHER),))


def test_a_state_is_that_of_the_list_of_all_tensors_however_they_are_heard() -> None:
    listed = sha256_digest(canonical_json([each.fields() for each in FACTS]))
    hasher = StateHasher()
    hasher.add(FACTS[:1])
    assert hasher.state == state_of(FACTS[:1]) != listed
    hasher.add(FACTS[1:])
    assert (hasher.state, hasher.tensors) == (listed, 3)
    with pytest.raises(BadParts, match="ascending names"):
        hasher.add(FACTS[2:])
