"""Pseudo-gradients as bytes: exact sizes, bounded errors, one form, and the same bytes whatever the machine does."""

import struct
from hashlib import sha256
from math import prod, sqrt

import numpy as np
import pytest

from archipel.training.exchange import CannotEncode, Codec, CodecTerms, codec_of, e3m0, int8, tiles
from archipel.training.exchange.table import MAX_RANK, BadTable
from training.exchange.deltas import CODECS, SHAPES, drawn, kinds, named

INT8, E3M0 = CODECS[1], CODECS[2]
each_codec = pytest.mark.parametrize("codec", CODECS, ids=named)


@each_codec
def test_every_payload_has_the_size_that_its_shapes_say_and_decodes_to_finite_values(
    codec: Codec,
) -> None:
    for delta in kinds(3):
        payload = codec.encode(delta)
        assert len(payload) == codec.size(SHAPES)
        decoded = codec.decode(payload, SHAPES)
        for found in (decoded.values, decoded.sent or decoded.values):
            assert {name: each.shape for name, each in found.items()} == SHAPES
        assert all(each.dtype == np.float32 for each in decoded.values.values())
        assert all(np.abs(each).max() <= 2.0**40 for each in decoded.values.values())
        assert (decoded.sent is None) == (codec.terms.name != "top_k")


@each_codec
def test_sizes_follow_the_formulas(codec: Codec) -> None:
    whole = {"a": (320, 576), "b": (2, 64, 128)}
    values, kept = sum(map(prod, whole.values())), codec.terms.kept
    num_tiles = values // 4096
    low = {64: 6, 190: 4}[kept]
    of_a_tile = kept * low + kept + (4095 >> low) + 2 * kept
    expected = {
        "float32": 44 + 4 * values,
        "int8": 44 + values + 4 * (320 + 128),
        "e3m0": 44 + values // 2 + 4 * (values // 256),
        "top_k": 44 + 2 * 16 + (num_tiles * of_a_tile + 7) // 8,
    }
    assert abs(codec.size(whole) - expected[codec.terms.name]) <= 2 * 2, "whole bytes a part"


def test_rows_of_64_have_a_scale_each_and_shorter_ones_one_together() -> None:
    for shape, num_scales in (((9, 64), 9), ((9, 63), 1), ((640,), 1), ((), 1), ((2, 3, 70), 6)):
        assert INT8.size({"a": shape}) == 44 + 4 * num_scales + prod(shape)


def test_a_model_of_135_million_weights_is_so_many_times_smaller() -> None:
    layer = {
        "self_attn.q_proj": (576, 576),
        "self_attn.k_proj": (192, 576),
        "self_attn.v_proj": (192, 576),
        "self_attn.o_proj": (576, 576),
        "mlp.gate_proj": (1536, 576),
        "mlp.up_proj": (1536, 576),
        "mlp.down_proj": (576, 1536),
        "input_layernorm": (576,),
        "post_attention_layernorm": (576,),
    }
    shapes = {f"model.layers.{i}.{name}": each for i in range(30) for name, each in layer.items()}
    shapes |= {"model.embed_tokens": (49152, 576), "model.norm": (576,)}
    sizes = {
        (terms.name, terms.kept): codec_of(terms).size(shapes)
        for terms in (*(each.terms for each in CODECS[:4]), CodecTerms("top_k", 128))
    }
    assert sum(map(prod, shapes.values())) == 134_515_008
    matrices, tiles_of, norms = 211, (134_515_008 - 61 * 576) // 4096, 61
    for kept, bits in ((64, 511 + 128), (128, 5 * 128 + 128 + 127 + 256)):
        least = 44 + 16 * matrices + 580 * norms + tiles_of * bits // 8
        assert 0 <= sizes["top_k", kept] - least <= 3 * matrices
    assert sizes == {
        ("float32", 64): 538_060_076,
        ("int8", 64): 135_333_984,
        ("e3m0", 64): 69_359_528,
        ("top_k", 64): 2_661_286,
        ("top_k", 128): 4_762_534,
    }


def test_the_bytes_of_every_form_are_these() -> None:
    header = struct.pack("<4sBB", b"ACPG", 1, 1)
    values = np.array([[1.5, -2.0]], np.float32)
    table = sha256(b'[["a",[1,2]]]').digest()
    payload = CODECS[0].encode({"a": values})
    assert payload == header + struct.pack("<HI", 0, 1) + table + struct.pack("<2f", 1.5, -2.0)
    values = np.array([127.0, -64.4, 0.5, 0.0, 1.5], np.float32)
    assert INT8.encode({"a": values})[44:] == struct.pack("<f5b", 1.0, 127, -64, 0, 0, 2)
    values = np.array([-8.0, 4.0, 0.1, -0.13, 6.0], np.float32)
    assert E3M0.encode({"a": values})[44:] == struct.pack("<f", 8.0) + bytes((0x6F, 0x91, 0x07))
    values = np.zeros((64, 64), np.float32)
    values[0, 3], values[1, 0], values[63, 63] = 3.0, -2.0, 5.0
    payload = codec_of(CodecTerms("top_k", 3)).encode({"a": values})
    assert payload[:12] == struct.pack("<4sBBHI", b"ACPG", 1, 4, 3, 1)
    lows = 3 | 64 << 10 | (4095 & 1023) << 20
    highs = 1 << 0 | 1 << 1 | 1 << 5
    levels = struct.pack("<4f", -2.0, 0.0, 3.0, 5.0)
    assert payload[44:] == levels + lows.to_bytes(4, "little") + bytes((highs, 2 | 0 << 2 | 3 << 4))


@each_codec
def test_bytes_depend_neither_on_memory_layout_nor_on_order_nor_on_portions(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    delta = drawn(5)
    payload = codec.encode(delta)
    values = codec.decode(payload, SHAPES).values
    turned = {name: delta[name].copy(order="F") for name in reversed(delta)}
    assert codec.encode(turned) == payload
    for module, portion in ((int8, 100), (e3m0, 512), (tiles, 100)):
        monkeypatch.setattr(module, "_AT_ONCE", portion)
    assert codec.encode(delta) == payload
    again = codec.decode(memoryview(payload), dict(reversed(SHAPES.items()))).values
    assert all(np.array_equal(again[name], values[name]) for name in SHAPES)


def test_float32_is_the_same_bits() -> None:
    for delta in kinds(1):
        values = CODECS[0].decode(CODECS[0].encode(delta), SHAPES).values
        assert all(np.array_equal(values[name], delta[name]) for name in delta)


def test_a_byte_is_off_by_half_a_step_of_its_row_at_most() -> None:
    for seed in range(20):
        shapes = {"a": (5, 64 + seed), "b": (9, 63)}
        delta = drawn(seed, shapes)
        values = INT8.decode(INT8.encode(delta), shapes).values
        rows = ((delta["a"], values["a"]), (delta["b"].reshape(1, -1), values["b"].reshape(1, -1)))
        for wanted, got in rows:
            peak = np.abs(wanted).max(axis=1, keepdims=True)
            off = np.abs(wanted.astype(np.float64) - got)
            assert (off <= peak / 127 / 2 + peak * 2.0**-24).all()
            assert (off.max(axis=1) > peak[:, 0] / 127 / 4).all()


def test_four_bits_are_off_by_a_root_of_two_at_most() -> None:
    for seed in range(20):
        shapes = {"a": (3, 256 + 2 * seed + seed % 2)}
        wanted = drawn(seed, shapes)["a"].reshape(-1)
        got = E3M0.decode(E3M0.encode({"a": wanted}), {"a": wanted.shape}).values["a"]
        for start in range(0, wanted.size, 256):
            x, y = (each[start : start + 256].astype(np.float64) for each in (wanted, got))
            peak = np.abs(x).max()
            assert np.abs(y).max() == peak
            zero = y == 0
            assert (np.abs(x[zero]) < peak * 2**-6.5).all()
            ratio = x[~zero] / y[~zero]
            assert (ratio <= sqrt(2) * (1 + 2**-23)).all()
            assert (ratio >= 1 / (sqrt(2) * (1 + 2**-23))).all()


def test_four_bits_go_to_the_next_level_from_the_first_number_above_the_root_on() -> None:
    below = np.float32(sqrt(2))
    assert float(below) < sqrt(2) < float(np.nextafter(below, np.float32(2)))
    for level in range(7):
        step = np.float32(2.0 ** (level - 7))
        pair = np.array([below * step, np.nextafter(below, np.float32(2)) * step, 1], np.float32)
        got = E3M0.decode(E3M0.encode({"a": pair}), {"a": (3,)}).values["a"]
        assert got.tolist() == [float(step) if level else 0.0, 2 * float(step), 1.0]


def test_what_four_bits_said_is_said_the_same_again() -> None:
    payload = E3M0.encode(drawn(2))
    assert E3M0.encode(E3M0.decode(payload, SHAPES).values) == payload


@each_codec
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**41, -(2.0**41)])
def test_values_that_are_no_numbers_or_too_large_are_not_sent(codec: Codec, value: float) -> None:
    delta = drawn(1)
    delta["model.layers.0.down.weight"][3, 4] = value
    with pytest.raises(CannotEncode, match=r"layers\.0\.down\.weight goes from"):
        codec.encode(delta)


def test_other_types_and_tables_are_not_sent() -> None:
    with pytest.raises(CannotEncode, match="is float64, expected float32"):
        CODECS[0].encode({"a": np.zeros(3)})
    for shapes, words in (
        ({}, "0 tensors"),
        ({"a": (0, 3)}, "lengths above 0"),
        ({"a": (1,) * (MAX_RANK + 1)}, "lengths above 0"),
        ({"a/b": (3,)}, "no name of a tensor"),
        ({"a": (2**30, 2**8)}, "values, expected at most"),
    ):
        with pytest.raises(BadTable, match=words):
            CODECS[0].size(shapes)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"name": "zip"}, "codec 'zip'"),
        ({"name": "top_k", "kept": 0}, "expected 1 to 1024"),
        ({"name": "top_k", "kept": 1025}, "expected 1 to 1024"),
        ({"name": "int8", "error_feedback": 0.0}, "above 0"),
        ({"name": "int8", "error_feedback": 1.01}, "at most 1"),
    ],
)
def test_terms_have_bounds(terms: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CodecTerms(**terms)
