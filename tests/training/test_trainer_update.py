"""What one update promises, whatever the loss."""

import math
from dataclasses import replace

import pytest
import torch

from archipel.model.network import Decoder
from archipel.records.recipe import OptimiserSection
from archipel.training.advantages import advantages_of
from archipel.training.algorithms import make_advantages, parts
from archipel.training.batch import BadGroup, Group, Rollout
from archipel.training.losses import make_objective
from archipel.training.optimiser import Diverged
from archipel.training.schedule import learning_rate
from archipel.training.trainer import Trainer
from training.tiny_learner import (
    alone_logprobs,
    rounded_copy,
    tiny_groups,
    tiny_model,
    tiny_recipe,
)

torch.set_num_threads(1)
LOSSES = ("trust_region", "ppo_clip", "tis", "cispo")


def make_trainer(seed=0, **sections):
    model = tiny_model(seed)
    return Trainer(model, tiny_recipe(**sections)), model


def equal_states(one, other):
    return all(torch.equal(one[name], other[name]) for name in one) and one.keys() == other.keys()


def mean_of(values, recipe):
    """Of one completion, what it adds to the sum."""
    return values.mean() if recipe.loss.mean_over == "sequences" else values.sum()


def textbook_gradient(model, groups, recipe):
    """One sequence at a time, no packing: gradient of sum over tokens / number of tokens."""
    advantages_of, objective = make_advantages(recipe.algorithm), make_objective(recipe.loss)
    losses, num_tokens = [], 0
    for group, advantages in zip(
        groups, advantages_of([group.rewards for group in groups]), strict=True
    ):
        for rollout, advantage in zip(group.rollouts, advantages, strict=True):
            logprobs = alone_logprobs(model, group.prompt, rollout.tokens)
            behaviour = torch.tensor(rollout.logprobs)
            one = torch.zeros(len(behaviour), dtype=torch.int64)
            loss = objective(logprobs, behaviour, torch.full_like(behaviour, advantage), one)
            losses.append(mean_of(loss.values_N, recipe))
            num_tokens += len(rollout.tokens)
    num_rollouts = len(losses)
    divisors = {"tokens": num_tokens, "sequences": num_rollouts, "constant": num_rollouts * 64}
    total = torch.stack(losses).sum() / divisors[recipe.loss.mean_over]
    return total, torch.autograd.grad(total, list(model.parameters()))


MEANS = [
    *({"name": loss} for loss in LOSSES),
    {"name": "ppo_clip", "mean_over": "sequences"},
    {"name": "trust_region", "mean_over": "constant"},
    {"name": "gspo", "mean_over": "sequences", "sequence_clip_low": 0.3, "sequence_clip_high": 0.4},
]


@pytest.mark.parametrize("loss", MEANS, ids=lambda loss: "-".join(map(str, loss.values())))
def test_loss_and_gradient_are_the_mean_over_all_micro_batches(loss):
    sections = {"loss": loss, "optimiser": {"micro_batch_tokens": 64}}
    trainer, model = make_trainer(**sections)
    behind = tiny_model(9)
    groups = tiny_groups(behind, 0)
    total, gradient = textbook_gradient(rounded_copy(model), groups, tiny_recipe(**sections))
    report = trainer.update(groups)
    norm = math.sqrt(sum(part.square().sum().item() for part in gradient))
    assert report.loss == pytest.approx(total.item(), rel=1e-4)
    assert report.grad_norm == pytest.approx(norm, rel=1e-4)


def test_micro_batches_do_not_change_the_step():
    states = []
    for tokens in (64, 100_000):
        trainer, _ = make_trainer(optimiser={"micro_batch_tokens": tokens, "epsilon": 1e-2})
        for version in range(3):
            trainer.update(tiny_groups(tiny_model(9), version, seed=1))
        states.append(trainer._optimiser.state())
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-4, atol=1e-5)


def test_the_order_in_which_groups_arrive_does_not_matter_bit_for_bit():
    groups = tiny_groups(tiny_model(), 0)
    states = []
    for order in (groups, groups[::-1], [groups[i] for i in (2, 0, 3, 1)]):
        trainer, _ = make_trainer()
        trainer.update(order)
        states.append(trainer._optimiser.state())
    assert equal_states(states[0], states[1])
    assert equal_states(states[0], states[2])


@pytest.mark.parametrize("loss", LOSSES)
def test_on_fresh_rollouts_the_ratio_is_one(loss):
    trainer, model = make_trainer(loss={"name": loss})
    trainer.update(tiny_groups(tiny_model(9), 0))
    policy = Decoder(model.config)
    policy.load_state_dict(trainer.published_state())
    report = trainer.update(tiny_groups(policy, 1))
    assert report.ratio_mean == pytest.approx(1.0, abs=1e-5)
    assert report.ratio_max == pytest.approx(1.0, abs=1e-4)
    assert report.mismatch_kl < 1e-8
    assert report.effective_sample_fraction == pytest.approx(1.0, abs=1e-6)


def test_ratios_are_taken_at_the_sampling_temperature():
    trainer, model = make_trainer(sampling={"temperature": 0.6})
    policy = rounded_copy(model)
    assert trainer.update(tiny_groups(policy, 0, temperature=0.6)).mismatch_kl < 1e-8
    trainer, _ = make_trainer()
    assert trainer.update(tiny_groups(policy, 0, temperature=0.6)).mismatch_kl > 1e-3


def test_groups_with_equal_rewards_are_left_out_and_counted():
    groups = tiny_groups(tiny_model(9), 0)
    flat = replace(groups[1], rewards=(0.3,) * 4)
    trainer, _ = make_trainer()
    report = trainer.update([groups[0], flat, *groups[2:]])
    without, _ = make_trainer()
    without.update([groups[0], *groups[2:]])
    assert report.zero_advantage_groups == 1
    assert report.groups == 4
    assert equal_states(trainer._optimiser.state(), without._optimiser.state())


def test_nothing_but_equal_rewards_makes_a_version_and_changes_no_weight():
    trainer, _ = make_trainer(optimiser={"weight_decay": 0.1})
    before = trainer._optimiser.state()
    groups = [replace(group, rewards=(1.0,) * 4) for group in tiny_groups(tiny_model(), 0)]
    report = trainer.update(groups)
    assert trainer.version == report.version == 1
    assert (report.optimiser_steps, report.tokens, report.zero_advantage_groups) == (0, 0, 4)
    assert equal_states(before, trainer._optimiser.state())


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_makes_rewarded_tokens_likelier(loss):
    trainer, model = make_trainer(
        loss={"name": loss}, optimiser={"warmup_steps": 0, "learning_rate": 1e-3}
    )
    group = tiny_groups(rounded_copy(model), 0, num_groups=1)[0]
    group = replace(group, rewards=(1.0, 0.0, 0.0, 0.0))
    favoured = group.rollouts[0]
    trainer.update([group])
    after = alone_logprobs(model, group.prompt, favoured.tokens).mean().item()
    assert after > sum(favoured.logprobs) / len(favoured.logprobs)


def test_unusable_behaviour_logprobs_leave_the_mean_and_are_counted():
    trainer, _ = make_trainer()
    groups = tiny_groups(tiny_model(9), 0)
    first = groups[0].rollouts[0]
    num_tokens = sum(len(r.tokens) for group in groups for r in group.rollouts)
    spoilt = replace(first, logprobs=(float("nan"), *first.logprobs[1:]))
    broken = replace(groups[0], rollouts=(spoilt, *groups[0].rollouts[1:]))
    report = trainer.update([broken, *groups[1:]])
    assert (report.invalid_tokens, report.tokens) == (1, num_tokens - 1)
    assert math.isfinite(report.loss)
    assert math.isfinite(report.grad_norm)


def test_minibatches_are_disjoint_optimiser_steps_over_one_update():
    groups = tiny_groups(tiny_model(9), 0)
    num_tokens = sum(len(r.tokens) for group in groups for r in group.rollouts)
    trainer, _ = make_trainer(optimiser={"minibatches": 3})
    report = trainer.update(groups)
    assert (report.optimiser_steps, report.tokens) == (3, num_tokens)
    flat = [replace(group, rewards=(0.0,) * 4) for group in groups[:3]]
    assert trainer.update([*flat, groups[3]]).optimiser_steps == 1


def test_the_published_policy_is_the_masters_rounded_to_nearest_even():
    trainer, model = make_trainer()
    trainer.update(tiny_groups(tiny_model(9), 0))
    published, state = trainer.published_state(), trainer._optimiser.state()
    for name, tensor in published.items():
        assert tensor.dtype == torch.bfloat16
        bits = state[f"master.{name}"].view(torch.int32).to(torch.int64) & 0xFFFFFFFF
        expected = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        assert torch.equal(tensor.view(torch.int16).to(torch.int64) & 0xFFFF, expected)
        assert torch.equal(tensor.float(), model.get_parameter(name).detach())


def test_steps_too_small_for_bfloat16_add_up_in_the_masters():
    trainer, model = make_trainer(optimiser={"warmup_steps": 0, "learning_rate": 2e-5})
    weight = "model.layers.0.mlp.up_proj.weight"
    start = trainer.published_state()[weight]
    group = tiny_groups(rounded_copy(model), 0, num_groups=1)
    trainer.update(group)
    few = (trainer.published_state()[weight] != start).sum()
    for _ in range(30):
        trainer.update(group)
    many = (trainer.published_state()[weight] != start).sum()
    assert few < 0.1 * start.numel() < 0.2 * start.numel() < many


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": (1.0,)}, "4 rollouts and 1 rewards"),
        ({"rewards": (1.0, 0.0, 0.0, float("nan"))}, "not finite"),
        ({"policy_version": 1}, "policy version 1, the trainer is at 0"),
        ({"index": 1}, "given twice"),
        ({"tokens": (99,), "logprobs": (-1.0,)}, r"outside \[0, 24\)"),
        ({"tokens": (), "logprobs": ()}, "0 sampled tokens"),
        ({"logprobs": ()}, "0 log-probabilities"),
        ({"prompt": ()}, "0 prompt"),
    ],
)
def test_an_unfit_group_is_refused_and_nothing_changes(change, message):
    trainer, _ = make_trainer()
    before = trainer._optimiser.state()
    first, *others = tiny_groups(tiny_model(), 0)
    in_rollout = {key: value for key, value in change.items() if hasattr(first.rollouts[0], key)}
    if in_rollout:
        change = {"rollouts": (replace(first.rollouts[0], **in_rollout), *first.rollouts[1:])}
    with pytest.raises(BadGroup, match=message):
        trainer.update([replace(first, **change), *others])
    assert trainer.version == 0
    assert equal_states(before, trainer._optimiser.state())


def test_a_gradient_that_is_not_finite_changes_no_weight():
    trainer, model = make_trainer()
    before = trainer._optimiser.state()
    with torch.no_grad():
        model.get_parameter("model.norm.weight").fill_(float("nan"))
    with pytest.raises(Diverged, match="restart from the last checkpoint"):
        trainer.update(tiny_groups(tiny_model(), 0))
    assert trainer.version == 0
    assert equal_states(before, trainer._optimiser.state())


def test_a_model_in_bfloat16_is_refused():
    with pytest.raises(TypeError, match="read the model as float32"):
        Trainer(tiny_model().to(torch.bfloat16), tiny_recipe())


def test_schedules_warm_up_and_end_where_they_say():
    for name in ("constant", "linear", "cosine"):
        section = OptimiserSection(
            learning_rate=1.0, warmup_steps=4, schedule=name, final_fraction=0.1
        )
        rates = [learning_rate(section, step, 20) for step in range(20)]
        assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
        assert rates[4] == 1.0
        assert rates[-1] == pytest.approx(1.0 if name == "constant" else 0.1)
        assert rates[4:] == sorted(rates[4:], reverse=True)


def test_the_schedule_runs_over_all_steps_of_all_updates():
    changes = {"minibatches": 2, "schedule": "linear", "warmup_steps": 3}
    trainer, _ = make_trainer(optimiser=changes)
    section = tiny_recipe(optimiser=changes).optimiser
    for version in range(8):
        report = trainer.update(tiny_groups(tiny_model(9), version))
        assert report.optimiser_steps == 2
        assert report.learning_rate == learning_rate(section, 2 * version + 1, 16)
    assert report.learning_rate == 0.0


@pytest.mark.parametrize(("num_prompt", "num_tokens", "row"), [(200, 100, 299), (2, 3, 256)])
def test_a_row_holds_the_longest_rollout_and_short_ones_share(num_prompt, num_tokens, row):
    trainer, _ = make_trainer()
    short = Rollout((2,), (-1.0,), True)
    longest = Rollout((2,) * num_tokens, (-1.0,) * num_tokens, True)
    group = Group(0, (1,) * num_prompt, (short, longest, short), (0.0, 1.0, 1.0), 0)
    assert trainer._longest_row(group) == row


def test_reward_parts_are_learned_from_by_their_weights_and_a_part_that_nobody_gives_is_refused():
    section = {"name": "grpo", "scale_by_std": True, "part_weights": {"right": 1.0, "short": 0.5}}
    groups = [
        replace(
            group, parts={"right": (0.0, 1.0, 0.0, 1.0), "short": group.rewards, "seen": (1.0,) * 4}
        )
        for group in tiny_groups(tiny_model(9), 0)
    ]
    expected = parts.advantages(
        [(group.parts["right"], group.parts["short"]) for group in groups], (1.0, 0.5)
    )
    assert advantages_of(groups, tiny_recipe(algorithm=section)) == expected
    trainer, _ = make_trainer(algorithm=section)
    assert trainer.update(groups).optimiser_steps == 1
    bare, _ = make_trainer(algorithm=section)
    cut = [replace(group, parts={}) for group in groups]
    assert bare.update(cut).zero_advantage_groups == 4, "no completion was graded in parts"
    wrong = {**section, "part_weights": {"rihgt": 1.0}}
    with pytest.raises(BadGroup, match="names rihgt; the environment gives right, seen, short"):
        make_trainer(algorithm=wrong)[0].update(groups)
    uneven = replace(groups[0], parts={"right": (1.0,)})
    with pytest.raises(BadGroup, match="'right' with 1 values for 4 rollouts"):
        make_trainer()[0].update([uneven, *groups[1:]])
