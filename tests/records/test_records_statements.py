"""Statements: one encoding each, closed schemas, named bounds, and bytes that never change."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.identity import Envelope, sign
from archipel.lab.entry import Entry, read_entry
from archipel.ledger.log import MAX_ENTRY_BYTES
from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical, sha256_digest
from archipel.records.fields import MAX_RECORD_BYTES
from archipel.records.statements import RECORD_TYPE, Asking, InvalidRecord, decode, encode
from people import identity
from specimens import KINDS, LARGE, SMALL

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "statements.json").read_text())
LEFT_OUT = (
    "fault", "delegation", "invitation", "effort", "usd_micro", "per_million_micro", "seed_size", "seed_root",
    "revocations", "to", "purpose", "share", "hours", "runs",
)  # fmt: skip
"""What is written only if there is one."""

scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20)
keys = st.text(st.characters(max_codepoint=127), max_size=8)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(keys, v), max_leaves=20
)


@pytest.mark.parametrize("name", SMALL)
def test_a_statement_s_bytes_and_digest_are_the_published_ones(name: str) -> None:
    data = encode(SMALL[name])
    assert data.decode() == VECTORS[name]["bytes"]
    assert sha256_digest(data) == VECTORS[name]["digest"]


def test_there_is_a_published_example_of_every_kind() -> None:
    assert {each.model_dump()["kind"] for each in SMALL.values()} == KINDS
    assert set(VECTORS) == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_a_statement_comes_back_equal_from_its_bytes(name: str) -> None:
    assert decode(encode(SMALL[name])) == SMALL[name]


@pytest.mark.parametrize("statement", LARGE, ids=lambda each: each.kind)
def test_the_largest_statement_its_bounds_allow_fits_a_ledger_entry(statement) -> None:
    data = encode(statement)
    assert len(data) <= MAX_RECORD_BYTES
    envelope = sign(identity("node"), data, RECORD_TYPE)
    assert Envelope.from_json(envelope.to_json()) == envelope
    if isinstance(statement, Asking):
        return
    entry = Entry(2**53 - 1, envelope, statement).to_bytes()
    assert len(entry) <= MAX_ENTRY_BYTES
    assert read_entry(entry).statement == statement


@pytest.mark.parametrize("name", ["lease.requested", "blob.offered"])
def test_what_only_asks_is_no_ledger_entry(name: str) -> None:
    envelope = sign(identity("node"), encode(SMALL[name]), RECORD_TYPE)
    with pytest.raises(InvalidRecord, match="only asks"):
        read_entry(Entry(1, envelope, SMALL[name]).to_bytes())


@given(st.sampled_from(sorted(SMALL)), st.integers(0, 10**6), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_says_what_its_own_bytes_say(
    name: str, place: int, value: int
) -> None:
    data = bytearray(encode(SMALL[name]))
    data[place % len(data)] = value
    try:
        statement = decode(bytes(data))
    except InvalidRecord as error:
        if len(str(error)) > 1000:
            raise AssertionError("an error repeats what a stranger sent") from error
    else:
        assert encode(statement) == bytes(data)


@given(st.sampled_from(sorted(SMALL)), st.data())
def test_a_truncated_statement_is_refused(name: str, data: st.DataObject) -> None:
    whole = encode(SMALL[name])
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(InvalidRecord):
        decode(whole[:cut])


@given(st.binary(max_size=200))
def test_noise_is_refused_with_one_named_error(noise: bytes) -> None:
    with pytest.raises(InvalidRecord):
        decode(noise)


@pytest.mark.parametrize("name", SMALL)
def test_schemas_are_closed_total_and_strict(name: str) -> None:
    fields = json.loads(encode(SMALL[name]))
    for changed in (
        fields | {"extra": 1},
        fields | {"seq": str(fields["seq"])},
        fields | {"seq": True},
        fields | {"seq": 0},
        fields | {"author": fields["author"][:-1]},
        fields | {"kind": "other"},
    ):
        with pytest.raises(InvalidRecord):
            decode(canonical_json(changed))
    for missing in fields.keys() - {"kind", *LEFT_OUT}:
        with pytest.raises(InvalidRecord):
            decode(canonical_json({k: v for k, v in fields.items() if k != missing}))


def test_a_record_over_the_limit_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(InvalidRecord, match=str(MAX_RECORD_BYTES)):
        decode(b" " * (MAX_RECORD_BYTES + 1))


@given(values)
def test_canonical_json_is_one_encoding_that_comes_back(value: object) -> None:
    data = canonical_json(value)
    assert parse_canonical(data) == value
    assert canonical_json(json.loads(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{ "a":1}',
        b"[1.0]",
        b"[1e3]",
        b"[NaN]",
        b"[-0]",
        b"[9007199254740992]",
        b'["\\u0061"]',
        b'["\\ud800"]',
        b'{"\xc3\xa4":1}',
        b"[1]\n",
        b"\xef\xbb\xbf[1]",
        '["a"]'.encode("utf-16"),
        b"[" * 100_000,
        b"[" * 33 + b"]" * 33,
        b"1" * 5000,
        b"",
    ],
)
def test_bytes_that_are_not_the_one_encoding_are_refused(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        parse_canonical(data)


@pytest.mark.parametrize("value", [0.5, {1: 2}, {"ä": 1}, b"x", 2**53, {"a": [object()]}, "\udfff"])
def test_values_without_a_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(NotCanonical):
        canonical_json(value)
