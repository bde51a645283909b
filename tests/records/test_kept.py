"""What a machine keeps for itself: any flipped bit is noticed, or changes nothing."""

import json

import pytest

from archipel.records.kept import Damaged, kept, read_kept

VALUE = {"lab": "did:key:z6Mk", "days": {"2026-01-01": {"works": 12}}, "rewards": [0.1, 1e-9, 1.0]}


def _read(data: bytes) -> object:
    try:
        return read_kept(data)
    except Damaged:
        return None


def test_a_flipped_bit_is_noticed_or_changes_nothing() -> None:
    data = kept(VALUE)
    assert read_kept(data, strict=True) == VALUE
    read = [
        _read(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
        for at in range(len(data))
        for bit in range(8)
    ]
    assert all(value is None or value == VALUE for value in read)
    assert sum(value is None for value in read) > len(read) // 2


def test_a_file_from_before_there_was_a_digest_is_read_unless_it_must_have_one() -> None:
    data = json.dumps(VALUE).encode()
    assert read_kept(data) == VALUE
    with pytest.raises(Damaged, match="digest"):
        read_kept(data, strict=True)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_is_damaged(data: bytes) -> None:
    with pytest.raises(Damaged, match="no JSON object"):
        read_kept(data)
