"""A parcel gives back what was put in; anything else is refused before it is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.records.parcel import (
    MAGIC,
    MAX_PARCEL_BLOBS,
    MAX_PARCEL_BYTES,
    BadParcel,
    pack_parcel,
    unpack_parcel,
)

blobs = st.lists(st.binary(max_size=40), max_size=5)


@given(st.binary(max_size=60), blobs)
def test_what_goes_in_comes_out(document: bytes, parts: list[bytes]) -> None:
    assert unpack_parcel(pack_parcel(document, parts)) == (document, parts)


@given(st.binary(max_size=60), blobs, st.data())
def test_a_parcel_cut_or_lengthened_is_refused(
    document: bytes, parts: list[bytes], data: st.DataObject
) -> None:
    whole = pack_parcel(document, parts)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for bad in (whole[:cut], whole + b"x"):
        with pytest.raises(BadParcel):
            unpack_parcel(bad)


@given(st.binary(max_size=200))
def test_noise_is_refused_with_one_named_error(noise: bytes) -> None:
    for data in (noise, MAGIC + noise):
        try:
            document, parts = unpack_parcel(data)
        except BadParcel:
            continue
        assert pack_parcel(document, parts) == data


def test_the_bounds_hold_on_both_sides() -> None:
    for parts in ([b""] * (MAX_PARCEL_BLOBS + 1), [b"x" * MAX_PARCEL_BYTES]):
        with pytest.raises(BadParcel, match="at most"):
            pack_parcel(b"", parts)
    assert unpack_parcel(pack_parcel(b"", [b""] * MAX_PARCEL_BLOBS))[1] == [b""] * MAX_PARCEL_BLOBS
    with pytest.raises(BadParcel):
        unpack_parcel(MAGIC + b"\xff" * 8)
    with pytest.raises(BadParcel):
        unpack_parcel(MAGIC + bytes(8) + bytes(MAX_PARCEL_BYTES))
