"""Terms beside the advantages: a reference that is stayed near, entropy that is kept."""

import numpy as np
import pytest
import torch

from archipel.model.network import causal_attention
from archipel.records.recipe import LossSection
from archipel.training.algorithms import make_advantages
from archipel.training.checkpoint import BadCheckpoint, checkpoint_file
from archipel.training.losses import make_objective
from archipel.training.optimiser import STATE_KEYS
from archipel.training.terms import with_entropy, with_reference
from archipel.training.trainer import Trainer
from training.tiny_learner import rounded_copy, tiny_groups, tiny_model, tiny_recipe

torch.set_num_threads(1)
HOT = {"warmup_steps": 0, "learning_rate": 3e-3}


def distributions(seed, count=7):
    """Logits of pi (a leaf), and log-probabilities of reference and behaviour, over a few tokens."""
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(0, 1.0, count), requires_grad=True)
    reference, behaviour = (
        torch.tensor(rng.normal(0, 1.0, count)).log_softmax(0) for _ in range(2)
    )
    return logits, reference, behaviour


def nothing(count):
    zeros = torch.zeros(count, dtype=torch.float64)
    objective = make_objective(LossSection(name="tis"))
    return objective(zeros, zeros, zeros, torch.arange(count))


@pytest.mark.parametrize("seed", range(5))
def test_on_stale_samples_value_and_gradient_are_in_the_mean_those_of_the_divergence(seed):
    """Summed over every token with its chance under the behaviour policy: exact, no sampling."""
    logits, reference, behaviour = distributions(seed)
    logprobs = logits.log_softmax(0)
    loss = with_reference(nothing(7), logprobs, behaviour, reference, 0.5)
    (behaviour.exp() * loss.values_N).sum().backward()
    found = logits.grad.clone()
    logits.grad = None
    divergence = (logits.log_softmax(0).exp() * (logits.log_softmax(0) - reference)).sum()
    (0.5 * divergence).backward()
    np.testing.assert_allclose(found.numpy(), logits.grad.numpy(), rtol=1e-9, atol=1e-12)
    assert (behaviour.exp() * loss.divergence_N).sum().item() == pytest.approx(divergence.item())


def test_the_estimate_equals_the_numpy_oracle_and_is_never_negative():
    logits, reference, behaviour = distributions(9)
    logprobs = logits.detach().log_softmax(0)
    loss = with_reference(nothing(7), logprobs, behaviour, reference, 2.0)
    gap = reference.numpy() - logprobs.numpy()
    oracle = np.exp(logprobs.numpy() - behaviour.numpy()) * (np.exp(gap) - 1 - gap)
    np.testing.assert_allclose(loss.values_N.numpy(), 2.0 * oracle, rtol=1e-12)
    assert (loss.divergence_N >= 0).all()


def test_entropy_is_paid_for():
    loss = with_entropy(nothing(3), torch.tensor([0.5, 1.0, 0.0]), 0.1)
    assert loss.values_N.tolist() == pytest.approx([-0.05, -0.1, 0.0])


def trained(versions=6, seed=0, **sections):
    trainer = Trainer(tiny_model(seed), tiny_recipe(optimiser=HOT, **sections))
    reports = [trainer.update(tiny_groups(tiny_model(9), version)) for version in range(versions)]
    return trainer, reports


def test_a_policy_stays_nearer_to_its_reference_the_more_that_counts():
    far, near = (trained(reference={"coefficient": weight})[1][-1] for weight in (1e-3, 30.0))
    assert near.reference_kl < 0.8 * far.reference_kl
    assert trained()[1][-1].reference_kl is None


def test_the_first_update_is_at_the_reference_itself():
    _, reports = trained(1, reference={"coefficient": 1.0})
    assert reports[0].reference_kl == pytest.approx(0.0, abs=1e-6)


def test_a_later_reference_begins_at_its_version_and_only_chosen_updates_have_the_term():
    _, reports = trained(reference={"coefficient": 1.0, "version": 2, "every": 2})
    known = [report.reference_kl for report in reports]
    assert [each is None for each in known] == [True, True, False, True, False, True]
    assert known[2] == pytest.approx(0.0, abs=1e-6)
    assert known[4] > 1e-4


@pytest.mark.parametrize("at", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 4))])
def test_a_trainer_that_was_restored_stays_near_the_same_reference_bit_for_bit(tmp_path, at):
    sections = {"reference": {"coefficient": 0.5, "version": 2}}
    whole, _ = trained(**sections)
    part, _ = trained(at, **sections)
    part.save(tmp_path)
    again = Trainer.restore(tmp_path)
    for version in range(at, 6):
        again.update(tiny_groups(tiny_model(9), version))
    expected = whole.published_state()
    assert all(torch.equal(expected[n], tensor) for n, tensor in again.published_state().items())


def test_a_checkpoint_without_its_reference_is_none(tmp_path, monkeypatch):
    trainer, _ = trained(1, reference={"coefficient": 0.5})
    monkeypatch.setattr("archipel.training.reference.Reference.state", lambda self: {})
    trainer.save(tmp_path)
    with pytest.raises(BadCheckpoint, match=r"has a reference, it has none: 'reference\.model"):
        Trainer.unpack(checkpoint_file(tmp_path, 1))


def test_a_run_without_terms_pays_nothing_for_them(tmp_path):
    trainer, _ = trained(1)
    names = {name.partition(".")[0] for name in trainer._optimiser.state()}
    assert names == set(STATE_KEYS)
    assert trainer._terms._reference is None


def test_an_entropy_bonus_keeps_the_entropy_up():
    bare, paid = (trained(loss={"entropy_bonus": weight})[1][-1].entropy for weight in (0.0, 0.5))
    assert paid > bare + 0.03


def test_the_gradient_of_the_terms_is_that_of_the_textbook():
    """One sequence at a time, with the whole vocabulary before us."""
    sections = {
        "reference": {"coefficient": 0.7},
        "loss": {"name": "ppo_clip", "entropy_bonus": 0.2},
    }
    trainer = Trainer(tiny_model(0), tiny_recipe(**sections))
    trainer.version = 1  # version 0 would be taken as the reference
    trainer._terms._reference.load(
        {f"reference.{name}": each for name, each in tiny_model(5).named_parameters()}
    )
    policy, other = rounded_copy(tiny_model(0)), tiny_model(5)
    groups = tiny_groups(tiny_model(9), 0)
    expected = textbook_norm(policy, other, groups, trainer.recipe)
    assert trainer.update(groups).grad_norm == pytest.approx(expected, rel=1e-3)


def textbook_norm(policy, other, groups, recipe):
    objective, total, count = make_objective(recipe.loss), 0.0, 0
    advantages = make_advantages(recipe.algorithm)([group.rewards for group in groups])
    for group, values in zip(groups, advantages, strict=True):
        for rollout, advantage in zip(group.rollouts, values, strict=True):
            mine, theirs = (
                everything(model, group.prompt, rollout.tokens) for model in (policy, other)
            )
            picked = torch.tensor(rollout.tokens).unsqueeze(1)
            logprobs, reference = mine.gather(1, picked)[:, 0], theirs.gather(1, picked)[:, 0]
            behaviour = torch.tensor(rollout.logprobs)
            pushed = objective(
                logprobs, behaviour, torch.full_like(behaviour, advantage),
                torch.zeros(len(behaviour), dtype=torch.int64),
            ).values_N  # fmt: skip
            gap = reference.detach() - logprobs
            stay = (logprobs - behaviour).exp() * (gap.exp() - 1 - gap)
            entropy = -(mine.exp() * mine).sum(1)
            total = total + (pushed + 0.7 * stay - 0.2 * entropy).sum()
            count += len(behaviour)
    gradient = torch.autograd.grad(total / count, list(policy.parameters()))
    return sum(each.square().sum().item() for each in gradient) ** 0.5


def everything(model, prompt, tokens):
    """Log-probabilities of all words at each sampled place."""
    ids = torch.tensor([prompt + tokens])
    positions = torch.arange(ids.shape[1]).unsqueeze(0)
    logits = model.logits(model(ids, positions, causal_attention))[0]
    return torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
