"""Payloads: what a stranger sends as tensors is read exactly or refused, without a tensor library."""

import json
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.records.payload import (
    MAX_HEADER_BYTES,
    BadPayload,
    Payload,
    read_payload,
    write_payload,
)
from archipel.records.programmes.rl import RlPace as Pace
from archipel.records.prompts import pack_prompts, unpack_prompts
from archipel.records.rollouts import (
    Rollout,
    RolloutBounds,
    max_rollout_bytes,
    pack_rollouts,
    unpack_rollouts,
)
from people import EOS, VOCAB, rollout
from world import PACE

EXPECTED = {"a": "I32", "b": "F32", "c": "U8"}
BOUNDS = RolloutBounds(
    work="run.1",
    policy="sha256:" + "a" * 64,
    num_groups=2,
    group_size=2,
    max_new_tokens=PACE["max_new_tokens"],
    vocab_size=VOCAB,
    stop_tokens=(EOS,),
)
GROUPS = [[rollout(Pace(**PACE), f"{g}/{n}") for n in range(2)] for g in range(2)]
PACKED = pack_rollouts(GROUPS, work=BOUNDS.work, policy=BOUNDS.policy)

payloads = st.builds(
    Payload,
    st.fixed_dictionaries(
        {
            "a": st.lists(st.integers(-(2**31), 2**31 - 1), max_size=9).map(
                lambda v: array("i", v)
            ),
            "b": st.lists(st.floats(width=32, allow_nan=False), max_size=9).map(
                lambda v: array("f", v)
            ),
            "c": st.lists(st.integers(0, 255), max_size=9).map(lambda v: array("B", v)),
        }
    ),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)


def with_header(header: object, body: bytes = b"") -> bytes:
    encoded = json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + body


def entry(dtype: str, length: object, start: object, stop: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": [length], "data_offsets": [start, stop]}


@given(payloads)
def test_a_payload_comes_back_bit_for_bit(payload: Payload) -> None:
    assert read_payload(write_payload(payload), EXPECTED) == payload


def test_payloads_are_safetensors_that_the_library_reads() -> None:
    import safetensors.numpy

    tensors = safetensors.numpy.load(PACKED)
    assert tensors["tokens"].tolist() == [t for g in GROUPS for r in g for t in r.tokens]
    assert set(tensors) == {"tokens", "logprobs", "lengths", "finished"}


def test_what_the_library_writes_is_read_as_a_payload() -> None:
    import numpy as np
    import safetensors.numpy

    data = safetensors.numpy.save(
        {
            "a": np.arange(3, dtype=np.int32),
            "b": np.ones(2, np.float32),
            "c": np.zeros(0, np.uint8),
        }
    )
    assert read_payload(data, EXPECTED).tensors["a"].tolist() == [0, 1, 2]


@given(st.data())
def test_a_truncated_result_is_refused(data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(PACKED) - 1))
    with pytest.raises(BadPayload):
        unpack_rollouts(PACKED[:cut], BOUNDS)


@given(st.integers(0, len(PACKED) - 1), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_gives_rollouts_within_all_bounds(
    place: int, value: int
) -> None:
    changed = bytearray(PACKED)
    changed[place] = value
    try:
        groups = unpack_rollouts(bytes(changed), BOUNDS)
    except BadPayload as error:
        if len(str(error)) > 600:
            raise AssertionError("an error repeats what a stranger sent") from error
        return
    assert [len(group) for group in groups] == [2, 2]
    for group in groups:
        for each in group:
            assert 1 <= len(each.tokens) == len(each.logprobs) <= BOUNDS.max_new_tokens
            assert all(0 <= token < VOCAB for token in each.tokens)
            assert all(p <= 1e-4 and p == p and p != -float("inf") for p in each.logprobs)
            assert each.finished == (each.tokens[-1] == EOS)


@given(st.binary(max_size=300))
def test_noise_is_no_payload(noise: bytes) -> None:
    with pytest.raises(BadPayload):
        read_payload(noise, EXPECTED)


@given(st.binary(max_size=120))
def test_noise_in_the_header_is_no_payload(noise: bytes) -> None:
    with pytest.raises(BadPayload):
        read_payload(len(noise).to_bytes(8, "little") + noise, EXPECTED)


A, B, C = entry("I32", 1, 0, 4), entry("F32", 1, 4, 8), entry("U8", 1, 8, 9)
BOMBS = {
    "header longer than the file": (2**63).to_bytes(8, "little") + b"{}",
    "header over the limit": (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * 2**17,
    "deep header": with_header([])[:8] + b"[" * 60_000,
    "numbers without end": with_header({"a": 1})[:8] + b"9" * 60_000,
    "too many tensors": with_header({f"t{n}": A for n in range(40)}),
    "a list": with_header([1]),
    "metadata of numbers": with_header(
        {"__metadata__": {"a": 1}, "a": A, "b": B, "c": C}, b"x" * 9
    ),
    "another tensor": with_header({"a": A, "b": B, "d": C}, b"x" * 9),
    "a missing tensor": with_header({"a": A, "b": B}, b"x" * 8),
    "another type": with_header({"a": entry("F64", 1, 0, 4), "b": B, "c": C}, b"x" * 9),
    "overlap": with_header({"a": A, "b": entry("F32", 1, 0, 4), "c": C}, b"x" * 9),
    "gap": with_header({"a": A, "b": B, "c": entry("U8", 1, 9, 10)}, b"x" * 10),
    "more data than described": with_header({"a": A, "b": B, "c": C}, b"x" * 10),
    "less data than described": with_header({"a": A, "b": B, "c": C}, b"x" * 8),
    "length against bytes": with_header({"a": entry("I32", 2, 0, 4), "b": B, "c": C}, b"x" * 9),
    "negative offset": with_header({"a": entry("I32", 1, -4, 0), "b": B, "c": C}, b"x" * 9),
    "vast offset": with_header({"a": entry("I32", 2**60, 0, 2**62), "b": B, "c": C}, b"x" * 9),
    "a flag as number": with_header({"a": entry("I32", True, 0, 4), "b": B, "c": C}, b"x" * 9),
    "a fraction": with_header({"a": entry("I32", 1.0, 0, 4), "b": B, "c": C}, b"x" * 9),
    "two dimensions": with_header({"a": A | {"shape": [1, 1]}, "b": B, "c": C}, b"x" * 9),
    "further keys": with_header({"a": A | {"more": 1}, "b": B, "c": C}, b"x" * 9),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_hostile_header_is_refused(bomb: str) -> None:
    with pytest.raises(BadPayload):
        read_payload(BOMBS[bomb], EXPECTED)


def test_no_honest_result_is_larger_than_the_bound_that_uploads_are_held_to() -> None:
    longest = Rollout((5,) * BOUNDS.max_new_tokens, (-1.0,) * BOUNDS.max_new_tokens, False)
    work = "r" * 63 + "." + "9" * 12
    data = pack_rollouts([[longest] * 2] * 2, work=work, policy=BOUNDS.policy)
    assert len(data) <= max_rollout_bytes(BOUNDS)


@given(
    st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5), max_size=6),
    st.integers(0, 10**12 - 1),
)
def test_prompts_come_back_in_order_with_their_batch(prompts: list[list[int]], batch: int) -> None:
    found = unpack_prompts(pack_prompts(prompts, batch=batch))
    assert found == (batch, [tuple(prompt) for prompt in prompts])


@pytest.mark.parametrize("lengths", [[0, 3], [-1, 4], [2, 2], [2**31 - 1, 1], [3]])
def test_prompt_lengths_that_do_not_add_up_are_refused(lengths: list[int]) -> None:
    tensors = {"tokens": array("i", [1, 2, 3, 4][: 4 if lengths == [3] else 3])}
    tensors["lengths"] = array("i", lengths)
    data = write_payload(Payload(tensors, {"batch": "0"}))
    with pytest.raises(BadPayload):
        unpack_prompts(data)


@pytest.mark.parametrize("batch", ["", "-1", "1.5", "x", "1" * 13, "\u0663"])
def test_a_batch_number_that_is_no_number_is_refused(batch: str) -> None:
    tensors = {"tokens": array("i", [1]), "lengths": array("i", [1])}
    with pytest.raises(BadPayload):
        unpack_prompts(write_payload(Payload(tensors, {"batch": batch})))
