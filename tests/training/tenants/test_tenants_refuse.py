"""What makes no sense is refused with a sentence, and changes nothing; what follows in the same turn is not done."""

import dataclasses
import math
import re

import numpy as np
import pytest
import torch

from archipel.training.tenants.operations import (
    Datum,
    ForwardBackward,
    Operation,
    OptimStep,
    Refused,
    Scored,
    Stepped,
)
from archipel.training.tenants.state import NotFinite
from archipel.training.tenants.tenants import AFTER_REFUSED, TenantTurn
from training.tenants.asked import STEP, ask, datum, form_of, moved, run, tenants
from training.tenants.test_tenants_in_company import bits

torch.set_num_threads(1)
GOOD = ask(1, (5, 3))
SAMPLED = ask(1, (5,), "ppo")


def changed(name: str, place: int, value: float, asked: ForwardBackward = GOOD) -> ForwardBackward:
    """The same, but for one number of its first datum."""
    first = asked.data[0]
    values = first.inputs[name].copy()
    values[place] = value
    other = Datum(first.tokens_T, {**first.inputs, name: values})
    return dataclasses.replace(asked, data=(other, *asked.data[1:]))


def without(name: str, asked: ForwardBackward) -> ForwardBackward:
    first = asked.data[0]
    inputs = {key: each for key, each in first.inputs.items() if key != name}
    return dataclasses.replace(asked, data=(Datum(first.tokens_T, inputs),))


def tokens(*numbers: int) -> ForwardBackward:
    first = datum(1, len(numbers))
    read = Datum(np.array(numbers, np.int32), first.inputs)
    return ForwardBackward((read,), "cross_entropy")


BAD: list[tuple[Operation, str]] = [
    (ForwardBackward((), "cross_entropy"), "no datum"),
    (ForwardBackward(GOOD.data, "custom"), "unknown"),  # type: ignore[arg-type]
    (ForwardBackward((datum(1, 65),), "cross_entropy"), "65 tokens; expected 1 to 64"),
    (tokens(), "0 tokens"),
    (tokens(0, 24), r"model_input\[1\] is 24; expected 0 to 23"),
    (tokens(-1, 2), r"model_input\[0\] is -1"),
    (changed("target_tokens", 2, 24), r"target_tokens\[2\] is 24"),
    (changed("target_tokens", 0, -7), r"target_tokens\[0\] is -7"),
    (changed("weights", 1, math.nan), r"weights\[1\] is nan"),
    (changed("weights", 1, -math.inf), r"weights\[1\] is -inf"),
    (changed("advantages", 0, 1e30, SAMPLED), r"advantages\[0\] is 1.0\d*e\+30"),
    (changed("logprobs", 4, math.nan, SAMPLED), r"logprobs\[4\] is nan"),
    (without("target_tokens", GOOD), "needs 'target_tokens'"),
    (without("logprobs", SAMPLED), "needs 'logprobs'"),
    (dataclasses.replace(GOOD, config={"beta": 1.0}), "has no constant 'beta'"),
    (dataclasses.replace(SAMPLED, config={"clip_low_threshold": -0.1}), "is -0.1"),
    (dataclasses.replace(SAMPLED, config={"clip_high_threshold": math.inf}), "is inf"),
    (dataclasses.replace(SAMPLED, config={"clip_low_threshold": 1.3}), "the smaller"),
    (dataclasses.replace(SAMPLED, data=GOOD.data), "needs 'logprobs'"),
    (OptimStep(-1e-3), "learning_rate is -0.001"),
    (OptimStep(math.nan), "learning_rate is nan"),
    (OptimStep(11.0), "learning_rate is 11.0; expected 0 to 10"),
    (OptimStep(1e-3, beta1=1.0), "beta1 is 1.0; expected less than 1"),
    (OptimStep(1e-3, beta2=1.5), "beta2 is 1.5"),
    (OptimStep(1e-3, epsilon=-1e-8), "eps is -1e-08"),
    (OptimStep(1e-3, weight_decay=math.inf), "weight_decay is inf"),
    (OptimStep(1e-3, clip_norm=-1.0), "grad_clip_norm is -1.0"),
]


@pytest.fixture(scope="module")
def over():
    return tenants()


@pytest.fixture(scope="module")
def begun(over):
    """A state in the middle of its life: weights, moments and a gradient."""
    state = moved(over, form_of(2, ("q_proj",)), 1)
    run(over, state, GOOD, STEP, GOOD)
    return state


@pytest.mark.parametrize(("asked", "reason"), BAD, ids=[reason for _, reason in BAD])
def test_what_makes_no_sense_is_refused_and_changes_nothing(over, begun, asked, reason) -> None:
    before = bits(begun, ())
    refused, after = run(over, begun, asked, STEP)
    assert isinstance(refused, Refused)
    assert after == Refused(AFTER_REFUSED)
    assert bits(begun, ()) == before
    assert re.search(reason, refused.reason), refused.reason


def test_weights_that_overflow_are_refused_and_their_company_goes_on(over) -> None:
    form = form_of(2, ("down_proj",))
    sick, well = moved(over, form, 1), moved(over, form, 2)
    sick.masters.fill_(1e30)
    alone = moved(over, form, 2)
    expected = bits(alone, run(over, alone, GOOD, STEP))
    before = bits(sick, ())
    first, second = over.run([TenantTurn(sick, (GOOD,)), TenantTurn(well, (GOOD, STEP))])
    assert isinstance(first[0], Refused)
    assert bits(sick, ()) == before
    assert [type(each) for each in second] == [Scored, Stepped]
    assert bits(well, second) == expected


@pytest.mark.parametrize("gathered", [math.nan, math.inf, 3e38, 1e25])
def test_a_step_that_would_leave_what_is_not_finite_is_not_taken(over, gathered) -> None:
    state = moved(over, form_of(2, ("q_proj",)), 1)
    run(over, state, GOOD, STEP, GOOD)
    state.gradient[0] = gathered
    before = bits(state, ())
    assert isinstance(run(over, state, STEP)[0], Refused)
    assert bits(state, ()) == before


def test_a_gradient_whose_sum_with_what_was_gathered_overflows_is_not_added(over) -> None:
    state = moved(over, form_of(2, ("q_proj",)), 1)
    state.gather(torch.full_like(state.masters, 3e38))
    before = bits(state, ())
    for more in (3e38, math.inf, math.nan):
        with pytest.raises(NotFinite):
            state.gather(torch.full_like(state.masters, more))
    assert bits(state, ()) == before
