"""A turn's bytes: whatever goes in comes out with its bits, and what does not fit is refused."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.records.payload import BadPayload, Payload, read_payload, write_payload
from archipel.training.tenants.columns import MAX_PAYLOAD_BYTES
from archipel.training.tenants.operations import (
    Datum,
    ForwardBackward,
    Operation,
    OptimStep,
    Outcome,
    Refused,
    Scored,
    Stepped,
)
from archipel.training.tenants.parcels import (
    pack_operations,
    pack_outcomes,
    unpack_operations,
    unpack_outcomes,
)

ANY = st.floats(width=64)
"""With NaN and infinity."""
NAMES = ("weights", "advantages", "logprobs", "target_tokens")


@st.composite
def data(draw: st.DrawFn) -> Datum:
    length = draw(st.integers(0, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    inputs = {}
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        if name == "target_tokens":
            inputs[name] = rng.integers(-(2**62), 2**62, length)
        else:
            inputs[name] = rng.integers(0, 2**32, length, dtype=np.uint32).view(np.float32)
    return Datum(rng.integers(0, 2**31, length, dtype=np.int32), inputs)


FORWARD = st.builds(
    ForwardBackward,
    data=st.lists(data(), max_size=3).map(tuple),
    loss=st.sampled_from(["cross_entropy", "ppo"]),
    config=st.dictionaries(st.sampled_from(["beta", "clip_low_threshold"]), ANY),
    forward_only=st.booleans(),
)
OPERATIONS = st.lists(FORWARD | st.builds(OptimStep, ANY, ANY, ANY, ANY, ANY, ANY), max_size=4)


def bits(value: object) -> object:
    """Of all numbers in it: NaN equals itself here, and 0 is not -0."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, float):
        return value.hex() if value == value else "nan"
    if isinstance(value, Mapping):
        return [(name, bits(each)) for name, each in value.items()]
    if isinstance(value, tuple):
        return [bits(each) for each in value]
    if isinstance(value, str | int):
        return value
    return type(value).__name__, [bits(each) for each in vars(value).values()]


def scored(operation: Operation) -> Outcome:
    if isinstance(operation, OptimStep):
        return Stepped({"norm": float("inf")})
    rows = tuple(np.full(len(each.tokens_T), -0.5, np.float32) for each in operation.data)
    return Scored(rows, {"loss:sum": 1 / 3})


@given(OPERATIONS)
@settings(max_examples=40, deadline=None)
def test_operations_and_their_outcomes_come_back_with_their_bits(given_: list[Operation]) -> None:
    packed = pack_operations(given_)
    back = unpack_operations(packed)
    assert bits(back) == bits(tuple(given_))
    assert pack_operations(back) == packed, "equal operations are equal bytes"
    outcomes = tuple(scored(each) for each in given_)
    assert bits(unpack_outcomes(pack_outcomes(outcomes), back)) == bits(outcomes)


DATUM = Datum(
    np.arange(3, dtype=np.int32),
    {"target_tokens": np.arange(3), "weights": np.ones(3, np.float32)},
)
TURN = (ForwardBackward((DATUM,), "cross_entropy"), OptimStep(1e-3))
CAME = (scored(TURN[0]), scored(TURN[1]))


@pytest.mark.parametrize(
    "came",
    [
        CAME[:1],
        CAME[::-1],
        (replace(CAME[0], logprobs=()), CAME[1]),
        (replace(CAME[0], logprobs=(np.zeros(2, np.float32),)), CAME[1]),
    ],
    ids=["too few", "other kinds", "too few data", "too short"],
)
def test_outcomes_of_other_operations_are_refused(came: tuple[Outcome, ...]) -> None:
    with pytest.raises(BadPayload):
        unpack_outcomes(pack_outcomes(came), TURN)


def test_any_operation_may_be_refused_and_says_why() -> None:
    came = (Refused("a weight is NaN; send numbers"), Refused("no gradient"))
    assert unpack_outcomes(pack_outcomes(came), TURN) == came


def changed(column: str, data: bytes) -> bytes:
    """A turn's bytes with more values in one column."""
    kinds = {"document": "U8", "integers": "I32", "longs": "U8", "floats": "F32", "numbers": "U8"}
    payload = read_payload(pack_operations(TURN), kinds)
    payload.tensors[column].frombytes(data)
    return write_payload(Payload(payload.tensors, payload.metadata))


@pytest.mark.parametrize("column", ["integers", "longs", "floats", "numbers"])
def test_values_that_nothing_speaks_of_are_refused(column: str) -> None:
    assert len(unpack_operations(changed(column, b""))) == 2
    with pytest.raises(BadPayload, match="does not name"):
        unpack_operations(changed(column, bytes(8)))


@pytest.mark.parametrize("column", ["longs", "numbers"])
def test_half_a_value_is_refused(column: str) -> None:
    with pytest.raises(BadPayload, match="no whole values"):
        unpack_operations(changed(column, bytes(3)))


def test_what_is_of_another_format_or_too_long_is_refused() -> None:
    with pytest.raises(BadPayload, match="expected archipel"):
        unpack_operations(pack_outcomes(CAME))
    with pytest.raises(BadPayload, match="at most"):
        unpack_operations(bytes(MAX_PAYLOAD_BYTES + 1))


def test_a_name_that_is_there_twice_is_refused() -> None:
    raw = pack_operations(TURN).replace(b'"target_tokens","weights"', b'"weights","weights"      ')
    with pytest.raises(BadPayload):
        unpack_operations(raw)


def test_what_no_reader_takes_is_not_written() -> None:
    wide = Datum(np.arange(3, dtype=np.int32), {"weights": np.ones(2, np.float32)})
    with pytest.raises(ValueError, match="shape"):
        pack_operations([ForwardBackward((wide,), "cross_entropy")])
    huge = Datum(np.array([2**40]), {})
    with pytest.raises(OverflowError):
        pack_operations([ForwardBackward((huge,), "cross_entropy")])
