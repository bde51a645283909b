"""The supervised loop: its gate, its decay, its data, its resume."""

import pytest
import torch

from archipel.records.recipe import SupervisedSection
from archipel.training.sft import Progress, SupervisedStage, supervise
from training.sft_examples import repeat_first
from training.tiny_learner import alone_logprobs, rounded_copy, tiny_model

torch.set_num_threads(1)
SECTION = SupervisedSection(
    steps=40, batch_size=16, learning_rate=1e-2, warmup_steps=4, decay_steps=10
)


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_gate_opens_the_decay_once_the_smoothed_loss_is_below_it():
    section = SECTION.model_copy(update={"gate": 1.5})
    progress, rates = Progress(), []
    for loss in (3.0, 1.0, 0.1, 0.1, 0.1, 0.1, *[0.1] * 40):
        if progress.is_done(section):
            break
        rates.append(progress.next_rate(section))
        progress = progress.after(loss, section, floor=1.0)
    # EMA: 3.0, 2.8, 2.53, 2.287, 2.0683, 1.87147, 1.694323, 1.5348907, 1.391...
    assert progress.decay_from == 9
    assert progress.step == 19
    assert rates[3:9] == [1e-2] * 6
    assert rates[-1] == pytest.approx(0.05e-2)


def test_without_a_gate_the_cap_opens_the_decay():
    progress = Progress()
    while not progress.is_done(SECTION):
        progress = progress.after(1.0, SECTION, floor=None)
    assert (progress.decay_from, progress.step) == (40, 50)


def test_a_gate_without_a_floor_is_refused():
    with pytest.raises(ValueError, match="states no entropy floor"):
        SupervisedStage(SECTION.model_copy(update={"gate": 1.3}), repeat_first)


def test_it_learns_the_answers_and_leaves_weights_that_can_be_published_as_they_are():
    model, seen = tiny_model(scale=3.0), []
    end = supervise(model, SupervisedStage(SECTION, repeat_first), seen.append)
    assert [each.step for each in seen] == list(range(1, 51))
    assert end.loss < 0.5 * seen[0].loss
    for parameter in model.parameters():
        assert torch.equal(parameter, parameter.to(torch.bfloat16).float())


@pytest.mark.parametrize("answer", [(5,), (5, 6), (6, 6, 6)])
def test_the_loss_is_on_the_answer_alone(answer):
    section = SECTION.model_copy(update={"steps": 1, "decay_steps": 0, "batch_size": 2})
    model = tiny_model()
    expected = -alone_logprobs(rounded_copy(model), (7, 8, 9), answer).mean().item()
    found = supervise(model, SupervisedStage(section, lambda index: ((7, 8, 9), answer)))
    assert found.loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("stop_at", "saved_at"), [pytest.param(30, 28, marks=pytest.mark.slow), (46, 42)]
)
def test_a_stage_stopped_and_resumed_ends_with_the_same_weights(tmp_path, stop_at, saved_at):
    whole = tiny_model()
    curve = []
    supervise(whole, SupervisedStage(SECTION, repeat_first), curve.append)

    class Stopped(Exception):
        pass

    stage = SupervisedStage(SECTION, repeat_first, checkpoints=tmp_path, save_every=7)

    def stop(progress):
        if progress.step == stop_at:
            raise Stopped

    with pytest.raises(Stopped):
        supervise(tiny_model(), stage, stop)
    resumed, rest = tiny_model(seed=5), []
    supervise(resumed, stage, rest.append)
    assert rest[0].step == saved_at + 1
    assert rest == curve[saved_at:]
    assert same(weights(whole), weights(resumed))
