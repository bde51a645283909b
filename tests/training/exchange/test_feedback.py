"""What was not sent is carried on, to the bit, and all of it is sent in the end."""

import numpy as np
import pytest

from archipel.training.exchange import CannotEncode, Codec, with_feedback
from training.exchange.deltas import CODECS, SHAPES, drawn, named

each_codec = pytest.mark.parametrize("codec", CODECS, ids=named)


@each_codec
def test_the_residual_is_what_was_carried_less_what_was_said(codec: Codec) -> None:
    residual = None
    for step in range(3):
        delta = drawn(step)
        payload, after = with_feedback(residual, delta, codec, 0.95)
        said = codec.decode(payload, SHAPES).values
        for name in SHAPES:
            carried = delta[name]
            if residual is not None:
                carried = np.float32(0.95) * residual[name] + delta[name]
            assert np.array_equal(after[name], carried - said[name])
            assert after[name].dtype == np.float32
            assert after[name].shape == SHAPES[name]
        residual = after


@each_codec
def test_at_a_decay_of_one_nothing_is_lost(codec: Codec) -> None:
    shapes = {"a": (64, 64), "b": (70,)}
    deltas = [drawn(seed, shapes) for seed in range(12)]
    residual: dict[str, np.ndarray] | None = None
    said = {name: np.zeros(shape) for name, shape in shapes.items()}
    for delta in deltas:
        payload, residual = with_feedback(residual, delta, codec, 1.0)
        for name, values in codec.decode(payload, shapes).values.items():
            said[name] += values
    assert residual is not None
    for name in shapes:
        wanted = sum(delta[name].astype(np.float64) for delta in deltas)
        assert np.allclose(said[name] + residual[name], wanted, rtol=0, atol=1e-7)


def test_the_same_delta_again_and_again_is_said_in_the_end_and_without_feedback_never() -> None:
    codec, shapes = CODECS[3], {"a": (32, 32)}
    delta = {"a": np.abs(drawn(1, shapes)["a"]) + np.float32(1e-3)}
    residual, said, steps = None, np.zeros((32, 32)), 200
    for _ in range(steps):
        payload, residual = with_feedback(residual, delta, codec, 1.0)
        said += codec.decode(payload, shapes).values["a"]
    off = np.linalg.norm(said / steps - delta["a"]) / np.linalg.norm(delta["a"])
    alone = codec.decode(codec.encode(delta), shapes).values["a"]
    off_alone = np.linalg.norm(alone - delta["a"]) / np.linalg.norm(delta["a"])
    assert off < 0.25 * off_alone


def test_a_residual_of_other_tensors_or_that_grew_beyond_bounds_is_refused() -> None:
    codec, delta = CODECS[3], drawn(1)
    with pytest.raises(CannotEncode, match="of other tensors"):
        with_feedback({"a": np.zeros(3, np.float32)}, delta, codec, 0.95)
    grown = {name: np.full(each.shape, 2.0**41, np.float32) for name, each in delta.items()}
    with pytest.raises(CannotEncode, match="goes from"):
        with_feedback(grown, delta, codec, 0.95)
