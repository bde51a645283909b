"""Receipts of parts become one version's documents, whoever wrote which part and in whatever order they come."""

from collections.abc import Callable

import pytest

from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.records.part_manifest import TensorFact, part_manifest
from archipel.records.weight_parts import BadParts, Part, Rows
from archipel.records.weight_state import state_of
from archipel.work.joining import MAX_RECEIPT_BYTES, Receipt, join

FILES: dict[str, bytes] = {}
PARENT = sha256_digest(b"parent")


def kept(data: bytes) -> BlobRef:
    FILES[sha256_digest(data)] = data
    return BlobRef(digest=sha256_digest(data), size=len(data))


def receipt(number: int, fact: TensorFact, rows: Rows | None = None) -> Receipt:
    state = state_of([fact])
    manifest = kept(part_manifest([fact], state, 1, None))
    part = Part(manifest=manifest, state=state, first=fact.name, last=fact.name, tensors=1, weights=fact.num_weights, rows=rows)  # fmt: skip
    return Receipt(number=number, part=part, anchor=kept(b"a%d" % number), delta=kept(b"d%d" % number))  # fmt: skip


WHOLE = TensorFact("b", (3, 2), sha256_digest(b"whole"))
FACTS = [TensorFact(name, (2,), sha256_digest(name.encode())) for name in "ac"]
ROWS = [Rows(start=start, stop=stop, shape=(3, 2), digest=WHOLE.digest) for start, stop in ((0, 1), (1, 3))]  # fmt: skip
RECEIPTS = [
    receipt(0, FACTS[0]),
    receipt(1, TensorFact("b", (1, 2), sha256_digest(b"first row")), ROWS[0]),
    receipt(2, TensorFact("b", (2, 2), sha256_digest(b"other rows")), ROWS[1]),
    receipt(3, FACTS[1]),
]
read: Callable[[BlobRef], bytes] = lambda blob: FILES[blob.digest]  # noqa: E731  one word


def test_a_version_has_one_name_whoever_wrote_its_parts() -> None:
    made = join(RECEIPTS, read, 1, PARENT)
    assert made == join(RECEIPTS[::-1], read, 1, PARENT)
    assert made.index.state == state_of([FACTS[0], WHOLE, FACTS[1]])
    assert (made.index.version, made.index.parent, made.index.weights) == (1, PARENT, 10)
    assert made.index.parts == tuple(each.part for each in RECEIPTS)
    assert made.anchor is not None
    assert made.delta is not None
    assert made.anchor.blobs == tuple(each.anchor for each in RECEIPTS)
    assert made.delta.blobs == tuple(each.delta for each in RECEIPTS)
    assert made.anchor.state == made.delta.state == made.index.state


@pytest.mark.parametrize("number", range(4))
def test_anchors_or_deltas_are_listed_if_every_part_has_one(number: int) -> None:
    for role in ("anchor", "delta"):
        some = [each.model_copy(update={role: None} if each.number == number else {}) for each in RECEIPTS]  # fmt: skip
        made = join(some, read, 1, None)
        assert getattr(made, role) is None
        assert (made.anchor, made.delta) != (None, None)


def test_a_part_that_is_missing_twice_or_anothers_makes_no_version() -> None:
    for told, why in (
        ([], "from 0 to 0 once"),
        (RECEIPTS[:-2] + RECEIPTS[-1:], "from 0 to 3 once"),
        ([*RECEIPTS, RECEIPTS[0]], "once"),
        (RECEIPTS[:2], "do not make a version"),
        ([each.model_copy(update={"number": 3 - each.number}) for each in RECEIPTS], "ascending names"),
    ):  # fmt: skip
        with pytest.raises(BadParts, match=why):
            join(told, read, 1, None)
    with pytest.raises(BadParts, match="manifest of part 0 is not"):
        join(RECEIPTS, lambda blob: read(blob) + b" ", 1, None)


def test_a_receipt_goes_round_and_nothing_else_is_one() -> None:
    data = RECEIPTS[1].to_bytes()
    assert Receipt.from_bytes(data) == RECEIPTS[1]
    with pytest.raises(BadParts, match="'number'"):
        Receipt.from_bytes(data.replace(b'"number":1', b'"number":"1"'))
    with pytest.raises(BadParts, match="a part's receipt: "):
        Receipt.from_bytes(b"{")
    with pytest.raises(BadParts, match=f"at most {MAX_RECEIPT_BYTES}"):
        Receipt.from_bytes(b" " * (MAX_RECEIPT_BYTES + 1))
