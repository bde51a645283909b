"""A payload of other tensors, another codec, or with a byte that no encoder writes says nothing."""

from collections.abc import Callable

import numpy as np
import pytest

from archipel.training.exchange import BadContribution, Codec, CodecTerms, codec_of
from training.exchange.deltas import CODECS, SHAPES, drawn, named

each_codec = pytest.mark.parametrize("codec", CODECS, ids=named)


@each_codec
def test_another_length_is_refused(codec: Codec) -> None:
    payload = codec.encode(drawn(1))
    for data in (b"", payload[:44], payload[:-1], payload + b"\0", payload * 2):
        with pytest.raises(BadContribution, match=f"{len(data)} bytes, expected {len(payload)}"):
            codec.decode(data, SHAPES)


@each_codec
def test_a_payload_of_another_table_is_refused(codec: Codec) -> None:
    first, *others = SHAPES.items()
    payload = codec.encode(drawn(1))
    renamed = {"model.embed.weigh2": first[1], **dict(others)}
    assert codec.size(renamed) == len(payload)
    with pytest.raises(BadContribution, match="table of names and shapes is"):
        codec.decode(payload, renamed)
    square = {"a": (64, 128), "b": (64,)}
    with pytest.raises(BadContribution):
        codec.decode(codec.encode(drawn(1, square)), {"a": (128, 64), "b": (64,)})


def test_a_payload_of_another_codec_or_share_is_refused() -> None:
    for one in CODECS:
        for other in CODECS:
            if one != other:
                payload = one.encode(drawn(1))
                with pytest.raises(BadContribution):
                    other.decode(payload, SHAPES)
                stretched = payload[: other.size(SHAPES)].ljust(other.size(SHAPES), b"\0")
                with pytest.raises(BadContribution, match=r"codec|kept"):
                    other.decode(stretched, SHAPES)


@each_codec
def test_every_bit_of_the_header_counts(codec: Codec) -> None:
    payload = codec.encode(drawn(1))
    for bit in range(44 * 8):
        data = bytearray(payload)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadContribution, match=", expected"):
            codec.decode(bytes(data), SHAPES)


@each_codec
def test_flipped_bits_are_refused_or_finite(codec: Codec) -> None:
    rng = np.random.default_rng(7)
    payload = codec.encode(drawn(1))
    refused = 0
    for _ in range(150):
        data = np.frombuffer(payload, np.uint8).copy()
        places = rng.integers(44, data.size, rng.integers(1, 4))
        data[places] = rng.integers(0, 256, places.size)
        try:
            decoded = codec.decode(data.tobytes(), SHAPES)
        except BadContribution:
            refused += 1
            continue
        for values in decoded.values.values():
            assert np.isfinite(values).all()
            assert np.abs(values).max() <= 2.0**40
    assert refused


def changed(terms: CodecTerms, values: np.ndarray, change: Callable[[np.ndarray], None]) -> None:
    """Decode a payload of one tensor in which `change` changed what follows the header."""
    codec, delta = codec_of(terms), {"a": values.astype(np.float32)}
    data = np.frombuffer(codec.encode(delta), np.uint8).copy()
    change(data[44:])
    codec.decode(data.tobytes(), {"a": values.shape})


def float_at(place: int, value: float) -> Callable[[np.ndarray], None]:
    """Write a float32 there."""

    def change(data: np.ndarray) -> None:
        data[place : place + 4].view("<f4")[0] = value

    return change


def byte_at(place: int, value: int) -> Callable[[np.ndarray], None]:
    """Write a byte there."""

    def change(data: np.ndarray) -> None:
        data[place] = value

    return change


ONES = np.concatenate((np.zeros(64), np.arange(1, 65))).reshape(2, 64)
"""A row of zeros, and one that is not."""
STRANGE = (np.nan, np.inf, -np.inf, -1.0, 2.0**41, 2.0**-120)


@pytest.mark.parametrize("value", STRANGE)
@pytest.mark.parametrize("name", ["float32", "int8", "e3m0", "top_k"])
def test_a_number_that_is_none_or_out_of_bounds_is_refused(name: str, value: float) -> None:
    # Float32 has no scale, and may be negative and small.
    if name != "float32" or not abs(value) <= 2.0**40:
        with pytest.raises(BadContribution, match=r"tensor a: a (scale|value|level)"):
            changed(
                CodecTerms(name), np.full((8, 8), 2.0), float_at(8 if name == "top_k" else 0, value)
            )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (8, 1, "largest code"),
        (8 + 127, 126, "largest code"),
        (8 + 64, 128, "is -128"),
    ],
)
def test_a_code_of_a_byte_that_is_not_written_is_refused(
    place: int, value: int, words: str
) -> None:
    with pytest.raises(BadContribution, match=words):
        changed(CodecTerms("int8"), ONES, byte_at(place, value))


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (8, 0x08, "negative zero"),
        (8, 0x80, "negative zero"),
        (8, 0x01, "reaches not its scale"),
        (8 + 128, 0x66, "reaches not its scale"),
        (8 + 129, 0x17, "bits behind"),
    ],
)
def test_a_code_of_four_bits_that_is_not_written_is_refused(
    place: int, value: int, words: str
) -> None:
    values = np.zeros(259)
    values[256:] = 1.0, -0.5, 0.25
    with pytest.raises(BadContribution, match=words):
        changed(CodecTerms("e3m0"), values, byte_at(place, value))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (float_at(0, 3.0), "first two below zero"),
        (float_at(4, -1.0), "no value has"),
        (float_at(12, -3.0), "first two below zero"),
        (byte_at(16 + 4, 0x3F), "indices, expected 3"),
        (byte_at(16 + 4, 0x00), "indices, expected 3"),
        (byte_at(16 + 4, 0x63), "bits behind"),
        (byte_at(16 + 5, 0xF2), "bits behind"),
        (byte_at(16 + 3, 0x7F), "bits behind"),
        (byte_at(16 + 2, 0xF0), "do not ascend"),
    ],
)
def test_a_tile_that_is_not_written_is_refused(
    change: Callable[[np.ndarray], None], words: str
) -> None:
    values = np.zeros((64, 64))
    values[0, 3], values[1, 0], values[63, 63] = 3.0, -2.0, 5.0
    with pytest.raises(BadContribution, match=words):
        changed(CodecTerms("top_k", 3), values, change)


def test_an_index_behind_the_end_of_a_tile_is_refused() -> None:
    values = np.zeros((48, 35))
    values[-1, -1] = 1.0
    with pytest.raises(BadContribution, match="index 1935 in a tile of 1680"):
        changed(CodecTerms("top_k", 3), values, byte_at(16 + 1, 3))
