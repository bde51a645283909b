"""Versions of weights: exact along any chain, and everything else refused by its own error."""

import dataclasses
import json
from collections.abc import Mapping

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.model import difference, versions
from archipel.model.config import DecoderConfig
from archipel.model.delta_file import MAX_HEADER_BYTES, DeltaFile
from archipel.model.difference import BadDifference, Block, decode_block, encode_block
from archipel.model.manifest import MAX_MANIFEST_BYTES, MAX_TENSORS, TensorEntry
from archipel.model.network import random_weights
from archipel.model.versions import (
    BadManifest,
    BadWeights,
    CorruptWeights,
    Manifest,
    TooLarge,
    WrongParent,
    WrongTarget,
    WrongTensors,
    apply_delta,
    decode_anchor,
    describe,
    encode_anchor,
    encode_delta,
)
from archipel.records.canonical import canonical_json

torch.set_num_threads(1)

State = dict[str, torch.Tensor]
SHAPES = {"model.b": (5, 7), "model.a": (11,), "scale": (), "none": (0, 4)}


def patterns(bits: np.ndarray) -> State:
    """A state whose bit patterns are `bits`, whatever numbers they mean."""
    state, start = {}, 0
    for name, shape in SHAPES.items():
        size = int(np.prod(shape))
        part = bits[start : start + size].astype(np.uint16).view(np.int16)
        state[name] = torch.from_numpy(part.copy()).view(torch.bfloat16).reshape(shape)
        start += size
    return state


NUM_WEIGHTS = sum(int(np.prod(shape)) for shape in SHAPES.values())


def random_state(seed: int) -> State:
    return patterns(np.random.default_rng(seed).integers(0, 65536, NUM_WEIGHTS))


def same_bytes(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].shape == other[name].shape
        and torch.equal(one[name].view(torch.int16), other[name].view(torch.int16))
        for name in one
    )


def chain(states: list[State]) -> list[Manifest]:
    manifests: list[Manifest] = []
    for version, state in enumerate(states):
        manifests.append(describe(state, version, manifests[-1].state if manifests else None))
    return manifests


@pytest.fixture
def two() -> tuple[list[State], list[Manifest], bytes]:
    states = [random_state(0), random_state(1)]
    manifests = chain(states)
    return states, manifests, encode_delta(*states, *manifests)


# What is exact.

edits = st.lists(
    st.tuples(st.integers(0, NUM_WEIGHTS - 1), st.integers(0, 65535)), max_size=NUM_WEIGHTS
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(edits, min_size=1, max_size=4))
def test_a_chain_of_deltas_gives_the_bytes_of_the_anchor(
    seed: int, steps: list[list[tuple[int, int]]]
) -> None:
    bits = np.random.default_rng(seed).integers(0, 65536, NUM_WEIGHTS)
    states = [patterns(bits)]
    for step in steps:
        for place, pattern in step:
            bits[place] = pattern
        states.append(patterns(bits))
    manifests = chain(states)
    held = decode_anchor(encode_anchor(states[0]), manifests[0])
    for v in range(1, len(states)):
        delta = encode_delta(states[v - 1], states[v], manifests[v - 1], manifests[v])
        held = apply_delta(held, manifests[v - 1], delta, manifests[v])
    late = decode_anchor(encode_anchor(states[-1]), manifests[-1])
    assert same_bytes(held, states[-1])
    assert same_bytes(late, states[-1])


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 3000),
    st.sampled_from([0.0, 0.001, 0.03, 0.5, 1.0]),
    st.sampled_from([1, 3, 300, 65535]),
)
def test_any_bit_patterns_survive_coding(seed: int, size: int, share: float, reach: int) -> None:
    generator = np.random.default_rng(seed)
    old = generator.integers(0, 65536, size).astype(np.uint16)
    moved = generator.random(size) < share
    new = (old + moved * generator.integers(0, reach + 1, size)).astype(np.uint16)
    assert np.array_equal(decode_block(old, encode_block(old, new)), new)


def test_every_bit_pattern_can_become_every_far_or_near_one() -> None:
    every = np.arange(65536, dtype=np.uint16)
    for new in (every[::-1], np.roll(every, 1), every ^ 0x8000, np.zeros_like(every)):
        assert np.array_equal(decode_block(every, encode_block(every, new)), new)


def test_nan_payloads_and_negative_zero_are_kept() -> None:
    special = np.array([0x7FC0, 0xFFC1, 0x7F81, 0x8000, 0x0000, 0x7F80, 0xFF80, 0x0001])
    old, new = (patterns(np.resize(part, NUM_WEIGHTS)) for part in (special, special[::-1]))
    manifests = chain([old, new])
    got = apply_delta(old, manifests[0], encode_delta(old, new, *manifests), manifests[1])
    assert same_bytes(got, new)
    assert same_bytes(decode_anchor(encode_anchor(old), manifests[0]), old)


def test_a_state_larger_than_a_block_is_coded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "BLOCK_WEIGHTS", 10)
    states = [random_state(3), random_state(4)]
    manifests = chain(states)
    delta = encode_delta(*states, *manifests)
    assert len(DeltaFile.from_bytes(delta).blocks) == -(-NUM_WEIGHTS // 10)
    assert same_bytes(apply_delta(states[0], manifests[0], delta, manifests[1]), states[1])
    monkeypatch.setattr(versions, "BLOCK_WEIGHTS", 20)
    with pytest.raises(CorruptWeights, match="blocks"):
        apply_delta(states[0], manifests[0], delta, manifests[1])


def test_the_weights_of_a_real_decoder_travel_and_the_state_handed_in_is_kept() -> None:
    config = DecoderConfig("olmo2", 64, 32, 2, 4, 2, 8, 48, 32)
    states = [random_weights(config, seed).bfloat16().state_dict() for seed in (0, 1)]
    kept = {name: tensor.clone() for name, tensor in states[0].items()}
    manifests = chain(states)
    got = apply_delta(states[0], manifests[0], encode_delta(*states, *manifests), manifests[1])
    assert same_bytes(got, states[1])
    assert same_bytes(states[0], kept)
    random_weights(config, 2).load_state_dict(got)


def test_an_anchor_is_a_compressed_safetensors_file() -> None:
    from safetensors.torch import load

    state = random_state(0)
    assert same_bytes(load(zstandard.ZstdDecompressor().decompress(encode_anchor(state))), state)


@pytest.mark.parametrize("learning_rate", [1e-6, 1e-5])
def test_a_bounded_update_costs_less_than_half_of_an_exclusive_or(learning_rate: float) -> None:
    generator = np.random.default_rng(0)
    master = generator.normal(0, 0.02, 400_000).astype(np.float32)
    step = (learning_rate * generator.uniform(-1, 1, len(master))).astype(np.float32)
    old, new = (
        torch.from_numpy(values).bfloat16().view(torch.int16).numpy().view(np.uint16)
        for values in (master, master + step)
    )
    block = encode_block(old, new)
    exclusive_or = len(zstandard.ZstdCompressor(level=3).compress((old ^ new).tobytes()))
    assert np.array_equal(decode_block(old, block), new)
    assert len(block.where) + len(block.amount) < exclusive_or / 2


# What is refused.


def test_every_damaged_byte_of_a_delta_is_refused_and_changes_nothing(two) -> None:  # type: ignore[no-untyped-def]
    states, manifests, delta = two
    before = {name: tensor.clone() for name, tensor in states[0].items()}
    for place in range(len(delta)):
        for flip in (0x01, 0x80):
            damaged = bytearray(delta)
            damaged[place] ^= flip
            with pytest.raises(BadWeights):
                apply_delta(states[0], manifests[0], bytes(damaged), manifests[1])
    assert same_bytes(states[0], before)


def test_a_damaged_anchor_is_refused_or_exact(two) -> None:  # type: ignore[no-untyped-def]
    states, manifests, _ = two
    anchor = encode_anchor(states[0])
    refused = 0
    for place in range(len(anchor)):
        for flip in (0x01, 0x80):
            damaged = bytearray(anchor)
            damaged[place] ^= flip
            try:
                assert same_bytes(decode_anchor(bytes(damaged), manifests[0]), states[0])
            except BadWeights:
                refused += 1
    assert refused >= 2 * len(anchor) - 4


def test_every_truncation_and_extension_is_refused(two) -> None:  # type: ignore[no-untyped-def]
    states, manifests, delta = two
    anchor = encode_anchor(states[0])
    for cut in range(len(delta)):
        with pytest.raises(CorruptWeights):
            apply_delta(states[0], manifests[0], delta[:cut], manifests[1])
    for cut in range(len(anchor)):
        with pytest.raises(CorruptWeights):
            decode_anchor(anchor[:cut], manifests[0])
    with pytest.raises(CorruptWeights):
        apply_delta(states[0], manifests[0], delta + b"\0", manifests[1])
    with pytest.raises(CorruptWeights):
        decode_anchor(anchor + b"\0", manifests[0])
    with pytest.raises(CorruptWeights):
        decode_anchor(anchor + anchor, manifests[0])


def test_order_is_kept() -> None:
    states = [random_state(seed) for seed in range(4)]
    manifests = chain(states)
    deltas = [
        encode_delta(states[v], states[v + 1], manifests[v], manifests[v + 1]) for v in range(3)
    ]
    with pytest.raises(WrongParent, match=r"version 0 .* is held; apply deltas in order"):
        apply_delta(states[0], manifests[0], deltas[1], manifests[2])
    with pytest.raises(WrongParent):
        apply_delta(states[1], manifests[1], deltas[0], manifests[1])
    with pytest.raises(WrongTarget, match="leads to version 2"):
        apply_delta(states[1], manifests[1], deltas[1], manifests[3])
    skipping = dataclasses.replace(manifests[2], parent=manifests[0].state)
    with pytest.raises(WrongParent):
        encode_delta(states[0], states[2], manifests[0], skipping)
    with pytest.raises(WrongTarget):
        decode_anchor(encode_anchor(states[1]), manifests[0])


def test_a_held_state_that_is_not_what_it_claims_gives_no_weights(two) -> None:  # type: ignore[no-untyped-def]
    _, manifests, delta = two
    with pytest.raises(CorruptWeights, match="says sha256"):
        apply_delta(random_state(9), manifests[0], delta, manifests[1])


def test_other_tensors_are_refused(two) -> None:  # type: ignore[no-untyped-def]
    states, manifests, delta = two
    reshaped = dict(states[1]) | {"model.a": states[1]["model.a"].reshape(11, 1)}
    other = describe(reshaped, 1, manifests[0].state)
    with pytest.raises(WrongTensors, match=r"model\.a"):
        encode_delta(states[0], reshaped, manifests[0], other)
    with pytest.raises(WrongTensors, match=r"model\.a"):
        decode_anchor(encode_anchor(reshaped), manifests[1])
    fewer = {name: tensor for name, tensor in states[0].items() if name != "scale"}
    with pytest.raises(WrongTensors, match="3 tensors, expected 4"):
        apply_delta(fewer, manifests[0], delta, manifests[1])
    for use in (encode_anchor, lambda state: describe(state, 0, None)):
        with pytest.raises(WrongTensors, match="bfloat16"):
            use({"w": torch.ones(3)})


def test_oversized_headers_are_refused_before_they_are_read(two) -> None:  # type: ignore[no-untyped-def]
    states, manifests, delta = two
    long = (MAX_HEADER_BYTES + 1).to_bytes(8, "little")
    with pytest.raises(TooLarge, match="header"):
        apply_delta(states[0], manifests[0], long + delta[8:], manifests[1])
    raw = zstandard.ZstdDecompressor().decompress(encode_anchor(states[0]))
    forged = zstandard.ZstdCompressor().compress(b"\xff" * 8 + raw[8:])
    with pytest.raises(TooLarge, match="header"):
        decode_anchor(forged, manifests[0])
    with pytest.raises(TooLarge, match="manifest"):
        Manifest.from_bytes(b" " * (MAX_MANIFEST_BYTES + 1))


def test_a_decompression_bomb_is_refused_by_the_size_it_states(two) -> None:  # type: ignore[no-untyped-def]
    states, manifests, delta = two
    bomb = zstandard.ZstdCompressor().compress(bytes(64 * 1024 * 1024))
    with pytest.raises(CorruptWeights, match="states 67108864 bytes"):
        decode_anchor(bomb, manifests[0])
    block = dataclasses.replace(DeltaFile.from_bytes(delta).blocks[0], amount=bomb)
    forged = dataclasses.replace(DeltaFile.from_bytes(delta), blocks=(block,)).to_bytes()
    with pytest.raises(CorruptWeights, match="states 67108864 bytes"):
        apply_delta(states[0], manifests[0], forged, manifests[1])
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100))
    with pytest.raises(CorruptWeights, match="states"):
        decode_anchor(unsized, manifests[0])


OLD = np.arange(20, dtype=np.uint16)
HONEST = encode_block(OLD, OLD + np.uint16(1))


def _frame(values: list[int]) -> bytes:
    return zstandard.ZstdCompressor().compress(bytes(values))


@pytest.mark.parametrize(
    "block",
    [
        dataclasses.replace(HONEST, num_changed=0),
        dataclasses.replace(HONEST, num_changed=21),
        dataclasses.replace(HONEST, unit_planes=3),
        dataclasses.replace(HONEST, unit_planes=0),
        dataclasses.replace(HONEST, positions=7),
        Block(1, difference.GAPS, 1, 1, _frame([20]), _frame([0])),
        Block(2, difference.GAPS, 1, 1, _frame([10, 10]), _frame([0, 0])),
        Block(1, difference.GAPS, 5, 1, _frame([0] * 5), _frame([0])),
        Block(1, difference.GAPS, 1, 2, _frame([0]), _frame([255, 255])),
        Block(1, difference.BITMAP, 0, 1, _frame([0, 0, 1]), _frame([0])),
        Block(1, difference.BITMAP, 0, 1, _frame([3, 0, 0]), _frame([0])),
        Block(1, difference.BITMAP, 1, 1, _frame([1, 0, 0]), _frame([0])),
        Block(1, difference.BITMAP, 0, 1, _frame([1, 0]), _frame([0])),
    ],
)
def test_a_block_that_contradicts_itself_is_refused(block: Block) -> None:
    with pytest.raises(BadDifference):
        decode_block(OLD, block)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_by_every_reader(data: bytes) -> None:
    state = random_state(0)
    manifest = describe(state, 0, None)
    for read in (
        lambda: Manifest.from_bytes(data),
        lambda: decode_anchor(data, manifest),
        lambda: apply_delta(state, manifest, data, manifest),
    ):
        with pytest.raises(BadWeights):
            read()


# Manifests.


def test_a_manifest_has_one_encoding() -> None:
    manifest = describe(random_state(0), 3, "sha256:" + "0" * 64)
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest
    loose = json.dumps(json.loads(manifest.to_bytes())).encode()
    with pytest.raises(BadManifest, match="canonical"):
        Manifest.from_bytes(loose)


def test_the_state_digest_names_values_forms_and_names() -> None:
    state = random_state(0)
    base = describe(state, 0, None).state
    renamed = {("x" if name == "scale" else name): tensor for name, tensor in state.items()}
    reshaped = state | {"model.b": state["model.b"].reshape(7, 5)}
    touched = state | {"scale": -state["scale"]}
    others = [describe(other, 0, None).state for other in (renamed, reshaped, touched)]
    assert len({base, *others}) == 4
    assert describe(dict(reversed(state.items())), 8, base).state == base


def _forge(change) -> bytes:  # type: ignore[no-untyped-def]
    fields = json.loads(describe(random_state(0), 1, "sha256:" + "0" * 64).to_bytes())
    change(fields)
    return canonical_json(fields)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.update(extra=1),
        lambda f: f.pop("parent"),
        lambda f: f.update(format="archipel/weights/2"),
        lambda f: f.update(version=-1),
        lambda f: f.update(version=True),
        lambda f: f.update(version="1"),
        lambda f: f.update(parent="sha256:xyz"),
        lambda f: f.update(state="sha256:" + "0" * 64),
        lambda f: f.update(state=None),
        lambda f: f.update(tensors={}),
        lambda f: f["tensors"].reverse(),
        lambda f: f["tensors"].append(f["tensors"][-1]),
        lambda f: f["tensors"][0].update(name="../x"),
        lambda f: f["tensors"][0].update(name=None),
        lambda f: f["tensors"][0].update(dtype="float32"),
        lambda f: f["tensors"][0].update(shape=[-1]),
        lambda f: f["tensors"][0].update(shape=[True]),
        lambda f: f["tensors"][0].update(shape=[1] * 5),
        lambda f: f["tensors"][0].update(shape="11"),
        lambda f: f["tensors"][0].update(digest="md5:0"),
        lambda f: f["tensors"][0].update(more=1),
        lambda f: f["tensors"].__setitem__(0, []),
    ],
)
def test_a_manifest_that_says_anything_else_is_refused(change) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadManifest):
        Manifest.from_bytes(_forge(change))


def test_manifests_are_bounded() -> None:
    entry = TensorEntry("w", "bfloat16", (2**31, 2**10), "sha256:" + "0" * 64)
    with pytest.raises(TooLarge, match="bytes"):
        Manifest(0, None, (entry,), "sha256:" + "0" * 64)
    with pytest.raises(TooLarge, match="tensors"):
        Manifest.from_bytes(_forge(lambda f: f.update(tensors=[0] * (MAX_TENSORS + 1))))
    with pytest.raises(TooLarge, match="tensors"):
        Manifest(0, None, (), "sha256:" + "0" * 64)
    with pytest.raises(BadManifest):
        Manifest.from_bytes(b"[" * 900 + b"]" * 900)
