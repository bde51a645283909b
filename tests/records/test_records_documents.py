"""Documents: what is known has to fit, what is not known is ignored, and faults are named."""

import pytest

from archipel.identity import MAX_ENVELOPE_BYTES
from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.document import BadDocument, read_document
from archipel.records.documents import (
    BLOB_MARK_DIGITS,
    MAX_BLOBS_TOLD,
    MAX_RUNS_TOLD,
    MAX_SEALED_CHARACTERS,
    AcceptedWork,
    Asked,
    Have,
    KeyFacts,
    Submitted,
    UploadState,
    inputs_digest,
)
from specimens import ANSWERS, SPECS


def test_a_document_with_more_in_it_is_read_and_one_with_less_is_not() -> None:
    read = read_document(UploadState, b'{"complete":true,"offset":5,"later":[]}')
    assert (read.complete, read.offset) == (True, 5)
    with pytest.raises(BadDocument, match="offset: Field required"):
        read_document(UploadState, b'{"complete":true}')


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "document: "),
        (b"[]", "document: "),
        (b'{"complete":1,"offset":0}', "complete: "),
        (b'{"complete":true,"offset":"0"}', "offset: "),
        (b'{"complete":true,"offset":-1}', "offset: "),
        (b"\xff", "document: "),
    ],
)
def test_what_is_no_such_document_is_refused_by_its_first_fault(data: bytes, named: str) -> None:
    with pytest.raises(BadDocument, match=f"^{named}"):
        read_document(UploadState, data)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"request":' + b"[" * 50_000])
def test_bottomless_nesting_is_no_document(data: bytes) -> None:
    with pytest.raises(BadDocument):
        read_document(Asked, data)


def test_a_fault_inside_is_named_by_its_place() -> None:
    with pytest.raises(BadDocument, match=r"^next\.have\.blobs\.0: "):
        read_document(Submitted, b'{"record":"","next":{"request":"","have":{"blobs":["short"]}}}')
    with pytest.raises(BadDocument, match=r"^have\.runs\.run\.version: "):
        read_document(
            Asked,
            b'{"request":"","have":{"runs":{"run":{"opening":true,"version":-2,"weights":0}}}}',
        )


def test_a_sealed_record_is_no_longer_than_an_envelope() -> None:
    assert MAX_SEALED_CHARACTERS == MAX_ENVELOPE_BYTES
    most = b"x" * MAX_SEALED_CHARACTERS
    assert read_document(Asked, b'{"request":"' + most + b'"}').have == Have()
    with pytest.raises(BadDocument, match="request"):
        read_document(Asked, b'{"request":"x' + most + b'"}')


def test_what_a_node_says_it_has_is_bounded() -> None:
    held = {"opening": True, "version": -1, "weights": -1}
    for number, is_read in ((MAX_RUNS_TOLD, True), (MAX_RUNS_TOLD + 1, False)):
        data = canonical_json({"runs": {f"r{n}": held for n in range(number)}})
        _check(data, is_read)
    for number, is_read in ((MAX_BLOBS_TOLD, True), (MAX_BLOBS_TOLD + 1, False)):
        _check(canonical_json({"blobs": ["0" * BLOB_MARK_DIGITS] * number}), is_read)
    for mark in ("0" * 15, "0" * 17, "G" * 16, "A" * 16):
        _check(canonical_json({"blobs": [mark]}), False)
    assert (MAX_RUNS_TOLD, MAX_BLOBS_TOLD) == (64, 64)


def _check(data: bytes, is_read: bool) -> None:
    try:
        read_document(Have, data)
    except BadDocument:
        assert not is_read
    else:
        assert is_read


def test_counts_stand_between_nothing_and_what_every_reader_keeps_exact() -> None:
    for seq, is_read in ((0, True), (2**53 - 1, True), (-1, False), (2**53, False)):
        data = canonical_json({"did": "d", "last_seq": 0, "now_ms": 0}).replace(
            b'"last_seq":0', f'"last_seq":{seq}'.encode()
        )
        try:
            assert read_document(KeyFacts, data).last_seq == seq
        except BadDocument:
            assert not is_read
        else:
            assert is_read


def test_the_digest_of_inputs_is_over_their_canonical_list_in_order() -> None:
    one, two = (
        AcceptedWork(work=f"run.{n}", spec=SPECS["rollout"], answer=ANSWERS["rollout"])
        for n in (1, 2)
    )
    assert inputs_digest(()) == sha256_digest(b"[]")
    listed = [each.model_dump(mode="json") for each in (one, two)]
    assert inputs_digest((one, two)) == sha256_digest(canonical_json(listed))
    assert inputs_digest((two, one)) != inputs_digest((one, two))
