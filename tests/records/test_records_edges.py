"""What stands exactly at a bound of a record is read, and what stands just beyond it is refused."""

import builtins
import hashlib
from array import array
from dataclasses import replace

import pytest

from archipel.records import payload, prompts, rollouts
from archipel.records.canonical import (
    MAX_DEPTH,
    MAX_SAFE_INTEGER,
    NotCanonical,
    canonical_json,
    parse_canonical,
    sha256_digest,
)
from archipel.records.payload import BadPayload, Payload, read_payload, write_payload
from archipel.records.programmes.rl import RlPace as Pace
from archipel.records.rollout_bounds import ROLLOUT_TENSORS
from archipel.records.rollouts import (
    NotFinite,
    OutOfRange,
    Rollout,
    RolloutBounds,
    WrongLabel,
    WrongShape,
    bounds_of,
    max_rollout_bytes,
    pack_prompts,
    pack_rollouts,
    unpack_prompts,
    unpack_rollouts,
)
from archipel.records.seeds import derive_seed, evaluation_seed, group_seed
from world import PACE

END = 7
BOUNDS = RolloutBounds("run.1", "sha256:aa", 2, 1, 3, 10, (END,))
STOPPED = Rollout((1, END), (-0.5, -0.25), True)
CUT = Rollout((1, 2, 3), (-0.5, -0.25, 0.0), False)


def packed(first: Rollout = STOPPED, second: Rollout = CUT, **label: str) -> bytes:
    names = {"work": BOUNDS.work, "policy": BOUNDS.policy} | label
    return pack_rollouts([[first], [second]], **names)


def test_a_stopped_and_a_cut_rollout_come_back_group_by_group() -> None:
    assert unpack_rollouts(packed(), BOUNDS) == [[STOPPED], [CUT]]
    pairs = replace(BOUNDS, num_groups=1, group_size=2)
    assert unpack_rollouts(packed(), pairs) == [[STOPPED, CUT]]


@pytest.mark.parametrize("at_once", [1, 2, 65_536])
@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"tokens": (-1, END)}, OutOfRange),
        ({"tokens": (10, END)}, OutOfRange),
        ({"logprobs": (0.01, -0.25)}, OutOfRange),
        ({"logprobs": (float("nan"), -0.25)}, NotFinite),
        ({"logprobs": (float("-inf"), -0.25)}, NotFinite),
        ({"tokens": (END, END)}, WrongShape),
        ({"finished": False}, WrongShape),
        ({"tokens": (1, 2), "finished": False}, WrongShape),
        ({"tokens": (1, 2)}, WrongShape),
        ({"tokens": (1, 2, 3, END), "logprobs": (-1.0,) * 4}, WrongShape),
        ({"tokens": (), "logprobs": ()}, WrongShape),
        ({"logprobs": (-0.5,)}, WrongShape),
        ({"logprobs": (-0.5,) * 3}, WrongShape),
        ({"finished": 2}, OutOfRange),
    ],
)
def test_each_fault_of_a_rollout_is_refused_by_its_own_name_in_whatever_pieces_it_is_read(
    monkeypatch: pytest.MonkeyPatch, changes: dict, refusal: type, at_once: int
) -> None:
    monkeypatch.setattr(rollouts, "AT_ONCE", at_once)
    with pytest.raises(refusal) as refused:
        unpack_rollouts(packed(replace(STOPPED, **changes)), BOUNDS)
    assert refused.type is refusal


def test_no_call_looks_at_all_of_a_large_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep every other thread of the lab from running."""
    looked_at: list[int] = []

    def watched(name: str):
        def look(values, *more):
            looked_at.append(len(values) if isinstance(values, array) else 0)
            return getattr(builtins, name)(values, *more)

        return look

    for name in ("min", "max", "sum"):
        monkeypatch.setattr(rollouts, name, watched(name), raising=False)
    monkeypatch.setattr(rollouts, "AT_ONCE", 10)
    many = replace(BOUNDS, num_groups=25)
    groups = [[STOPPED if n % 2 else CUT] for n in range(25)]
    data = pack_rollouts(groups, work=BOUNDS.work, policy=BOUNDS.policy)
    assert unpack_rollouts(data, many) == groups
    assert max(looked_at) == 10
    assert sum(looked_at) > 200


def test_what_stands_at_a_bound_of_a_rollout_is_taken() -> None:
    edge = Rollout((0, 9, END), (0.0, 9.9e-5, -1e30), True)
    (found,), _ = unpack_rollouts(packed(edge), BOUNDS)
    assert found.tokens == edge.tokens
    assert found.logprobs == pytest.approx(edge.logprobs, rel=1e-6)


@pytest.mark.parametrize("key", ["work", "policy"])
def test_a_result_for_something_else_is_refused(key: str) -> None:
    with pytest.raises(WrongLabel, match=f"names {key} 'other', expected"):
        unpack_rollouts(packed(**{key: "other"}), BOUNDS)


@pytest.mark.parametrize("num_groups", [1, 3])
def test_as_many_rollouts_as_were_asked_and_no_others(num_groups: int) -> None:
    with pytest.raises(WrongShape, match=f"2 rollouts and 2 flags, expected {num_groups}"):
        unpack_rollouts(packed(), replace(BOUNDS, num_groups=num_groups))
    tensors = dict(read_payload(packed(), ROLLOUT_TENSORS).tensors)
    tensors["finished"] = array("B", [1])
    label = {"work": BOUNDS.work, "policy": BOUNDS.policy}
    with pytest.raises(WrongShape, match="2 rollouts and 1 flags"):
        unpack_rollouts(write_payload(Payload(tensors, label)), BOUNDS)


def test_bounds_are_those_of_the_pace() -> None:
    pace = Pace(**PACE)
    bounds = bounds_of(pace, work="w", policy="p", num_groups=5)
    assert (bounds.work, bounds.policy, bounds.num_groups) == ("w", "p", 5)
    for name in ("group_size", "max_new_tokens", "vocab_size", "stop_tokens"):
        assert getattr(bounds, name) == getattr(pace, name)


def test_the_upload_bound_is_eight_bytes_a_token_and_five_a_rollout_and_a_header() -> None:
    assert max_rollout_bytes(replace(BOUNDS, num_groups=3, group_size=2)) == 6 * (3 * 8 + 5) + 4096


def test_prompts_have_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "MAX_PROMPT_TOKENS", 2)
    assert unpack_prompts(pack_prompts([[1, 2], [3]], batch=10**12 - 1)) == (
        10**12 - 1,
        [(1, 2), (3,)],
    )
    for given, batch in (([[1, 2, 3]], 0), ([[1], []], 0), ([[1]], 10**12)):
        with pytest.raises(BadPayload):
            unpack_prompts(pack_prompts(given, batch=batch))


FORM = {"a": "I32", "b": "U8"}
DATA = write_payload(Payload({"a": array("i", [5]), "b": array("B", [1, 2])}, {"k": "v"}))


def test_a_payload_s_bytes_are_the_published_form() -> None:
    header = (
        b'{"__metadata__":{"k":"v"},"a":{"dtype":"I32","shape":[1],"data_offsets":[0,4]},'
        b'"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}'
    )
    header += b" " * (-len(header) % 8)
    expected = len(header).to_bytes(8, "little") + header + b"\5\0\0\0\1\2"
    assert expected == DATA
    assert write_payload(Payload({"b": array("B"), "a": array("i")}, {"z": "", "b": ""})).index(
        b'"b":"","z":""'
    )


def test_header_and_numbers_have_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    length = int.from_bytes(DATA[:8], "little")
    for name, value in (("MAX_HEADER_BYTES", length), ("MAX_TENSORS", 2), ("MAX_INTEGER", 7)):
        with monkeypatch.context() as patch:
            patch.setattr(payload, name, value)
            assert read_payload(DATA, FORM).tensors["b"].tolist() == [1, 2]
            patch.setattr(payload, name, value - 1)
            with pytest.raises(BadPayload):
                read_payload(DATA, FORM)
    with pytest.raises(BadPayload, match="header of"):
        read_payload(DATA[:7] + b"\1" + DATA[8:], FORM)
    with pytest.raises(BadPayload, match="7 bytes are too few"):
        read_payload(DATA[:7], FORM)
    with pytest.raises(BadPayload, match="header of"):
        read_payload(DATA[:8], FORM)


def test_an_empty_payload_is_one_and_a_header_that_is_cut_is_none() -> None:
    empty = (2).to_bytes(8, "little") + b"{}"
    assert read_payload(empty, {}) == Payload({}, {})
    with pytest.raises(BadPayload, match="header of 3 bytes; at most 2 fit"):
        read_payload((3).to_bytes(8, "little") + b"{}", {})


def test_a_machine_of_the_other_byte_order_writes_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = array("i", [1, -2])
    monkeypatch.setattr(payload.sys, "byteorder", "big")
    swapped = payload._little_endian(values)
    assert swapped.tolist() == [1 << 24, -(1 << 24) - 1]
    assert values.tolist() == [1, -2]


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_integers_and_nesting_are_taken_up_to_their_bounds() -> None:
    for value in (MAX_SAFE_INTEGER, -MAX_SAFE_INTEGER, nested(MAX_DEPTH)):
        assert parse_canonical(canonical_json(value)) == value
    for value in (MAX_SAFE_INTEGER + 1, -MAX_SAFE_INTEGER - 1, nested(MAX_DEPTH + 1)):
        with pytest.raises(NotCanonical):
            canonical_json(value)
    assert MAX_SAFE_INTEGER == 2**53 - 1
    deep = {"a": nested(MAX_DEPTH)}
    with pytest.raises(NotCanonical, match="nested deeper than 32 levels"):
        canonical_json(deep)


def test_canonical_bytes_are_sorted_tight_and_not_escaped() -> None:
    value = {"b": (1, None, True), "a": "é/\u2028", "A": {}}
    assert canonical_json(value) == '{"A":{},"a":"é/\u2028","b":[1,null,true]}'.encode()
    for bad in ({"é": 1}, {1: 2}, 1.0, b"x", "\ud800", {"a": {"b": {3}}}):
        with pytest.raises(NotCanonical):
            canonical_json(bad)
    assert sha256_digest(b"abc") == "sha256:" + hashlib.sha256(b"abc").hexdigest()


def test_seeds_are_the_first_63_bits_of_the_named_digest() -> None:
    for domain, parts, seed in (
        ("group", (7, 3), group_seed(7, 3)),
        ("evaluation", (7, 2, 3), evaluation_seed(7, 2, 3)),
        ("weights", (), derive_seed("weights")),
    ):
        text = ":".join(["archipel.seed.v1", domain, *map(str, parts)])
        digest = int(hashlib.sha256(text.encode()).hexdigest(), 16)
        assert seed == digest >> (256 - 63)
    assert len({group_seed(7, 3), group_seed(3, 7), evaluation_seed(7, 3, 0)}) == 3
