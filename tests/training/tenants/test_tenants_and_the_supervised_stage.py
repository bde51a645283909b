"""A tenant that asks for what the supervised stage does comes by the same curve and the same weights."""

import numpy as np
import pytest
import torch

from archipel.model.adapter import adapt, trained
from archipel.records.recipe import SupervisedSection
from archipel.training.sft import SupervisedStage, supervise
from archipel.training.tenants.operations import Datum, ForwardBackward, OptimStep
from archipel.training.tenants.tenants import Tenants
from training.sft_examples import repeat_first
from training.tenants.asked import form_of, run, scored
from training.tiny_learner import tiny_model

torch.set_num_threads(1)
SECTION = SupervisedSection(
    steps=4, batch_size=3, learning_rate=3e-2, warmup_steps=2, decay_steps=1, weight_decay=0.1
)
INSIDE = form_of(targets=("q_proj", "v_proj", "gate_proj", "down_proj"))


def datum_of(prompt: tuple[int, ...], answer: tuple[int, ...], num_answered: int) -> Datum:
    whole = np.array(prompt + answer)
    weights = np.zeros(len(whole) - 1, np.float32)
    weights[len(prompt) - 1 :] = 1 / num_answered
    return Datum(
        whole[:-1].astype(np.int32),
        {"target_tokens": whole[1:].astype(np.int64), "weights": weights},
    )


def test_losses_and_weights_are_those_of_the_supervised_stage() -> None:
    model, curve = tiny_model(scale=3.0), []
    adapt(model, INSIDE, 5)
    supervise(model, SupervisedStage(SECTION, repeat_first), curve.append)
    over = Tenants(tiny_model(scale=3.0))
    state = over.create(INSIDE, 5)
    for number, told in enumerate(curve):
        first = number * SECTION.batch_size
        pairs = [repeat_first(index) for index in range(first, first + SECTION.batch_size)]
        num_answered = sum(len(answer) for _, answer in pairs)
        data = tuple(datum_of(*pair, num_answered) for pair in pairs)
        step = OptimStep(
            told.learning_rate,
            SECTION.beta1,
            SECTION.beta2,
            1e-8,
            SECTION.weight_decay,
            SECTION.clip_norm,
        )
        found, stepped = run(over, state, ForwardBackward(data, "cross_entropy"), step)
        assert scored(found).metrics["loss:sum"] == pytest.approx(told.loss, rel=1e-4)
        assert stepped.metrics["gradient_norm"] == pytest.approx(told.grad_norm, rel=1e-3)
    ours = state.layout.views(state.rounded())
    for name, theirs in trained(model).items():
        apart, size = (ours[name] - theirs.detach()).abs().max(), theirs.detach().abs().max()
        assert float(apart) < 0.01 * float(size), name
