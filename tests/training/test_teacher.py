"""A teacher's log-probabilities as advantages of tokens: on the learner's own texts it comes nearer to the teacher."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from archipel.engine.engine import LocalEngine
from archipel.model.directory import write_model
from archipel.model.network import causal_attention
from archipel.model.tokenizer import character_tokenizer
from archipel.records.recipe import recipe_from_canonical
from archipel.records.requests import Request
from archipel.training.batch import Group
from archipel.training.losses import make_objective
from archipel.training.sharding import OneProcessOnly, this_site
from archipel.training.teacher import Teacher, WrongTeacher, digest_of
from archipel.training.trainer import Trainer
from training.tiny_learner import (
    alone_logprobs,
    rounded_copy,
    tiny_groups,
    tiny_model,
    tiny_recipe,
)

torch.set_num_threads(1)
HOT = {"warmup_steps": 0, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("teacher") / "model"
    teacher = tiny_model(5, scale=12.0)
    write_model(place, teacher, teacher.config, character_tokenizer())
    return place


def recipe_with(folder, **given):
    return tiny_recipe(optimiser=HOT, teacher={"path": str(folder), **given})


def own_groups(trainer, rewards=(0.0, 0.0, 0.0, 0.0)):
    """Sampled from the learner itself."""
    engine = LocalEngine(trainer._config)
    engine.load(trainer.published_state())
    requests = [
        Request(
            key=f"{n}", prompt=(3 + n, 4), seed=100 * trainer.version + n, num_rollouts=4,
            max_new_tokens=6, stop_tokens=(1,),
        )
        for n in range(8)
    ]  # fmt: skip
    sampled = engine.generate(requests)
    return [
        Group(n, request.prompt, tuple(rollouts), rewards, trainer.version)
        for n, (request, rollouts) in enumerate(zip(requests, sampled, strict=True))
    ]


@pytest.mark.parametrize("hears", ["samples", "all"])
def test_on_its_own_texts_the_learner_comes_nearer_to_the_teacher_without_any_reward(folder, hears):
    trainer = Trainer(tiny_model(0), recipe_with(folder, rewards="ignored", hears=hears))
    reports = [trainer.update(own_groups(trainer, (0.0, 1.0, 0.0, 1.0))) for _ in range(8)]
    assert reports[-1].teacher_kl < 0.7 * reports[0].teacher_kl
    assert reports[0].teacher_kl > 0.1


def test_the_gradient_is_that_of_each_tokens_gap_to_the_teacher_beside_its_advantage(folder):
    recipe = recipe_with(folder, weight=0.5)
    trainer = Trainer(tiny_model(0), recipe)
    groups = tiny_groups(tiny_model(9), 0)
    policy, teacher = rounded_copy(tiny_model(0)), tiny_model(5, scale=12.0)
    objective, total, count = make_objective(recipe.loss), 0.0, 0
    for group in groups:
        mean = sum(group.rewards) / 4
        for rollout, reward in zip(group.rollouts, group.rewards, strict=True):
            own, theirs = (
                alone_logprobs(model, group.prompt, rollout.tokens) for model in (policy, teacher)
            )
            advantage = reward - mean + 0.5 * (theirs - own).detach()
            one = torch.zeros(len(own), dtype=torch.int64)
            behaviour = torch.tensor(rollout.logprobs)
            total = total + objective(own, behaviour, advantage, one).values_N.sum()
            count += len(own)
    gradient = torch.autograd.grad(total / count, list(policy.parameters()))
    norm = sum(each.square().sum().item() for each in gradient) ** 0.5
    assert trainer.update(groups).grad_norm == pytest.approx(norm, rel=1e-3)


def test_of_all_tokens_the_gradient_is_that_of_the_divergence_beside_the_advantage(folder):
    recipe = recipe_with(folder, weight=0.5, hears="all")
    trainer = Trainer(tiny_model(0), recipe)
    groups = tiny_groups(tiny_model(9), 0)
    policy, teacher = rounded_copy(tiny_model(0)), tiny_model(5, scale=12.0)
    objective, total, apart, count = make_objective(recipe.loss), 0.0, 0.0, 0
    for group in groups:
        mean = sum(group.rewards) / 4
        for rollout, reward in zip(group.rollouts, group.rewards, strict=True):
            tokens = torch.tensor([[*group.prompt, *rollout.tokens]])[:, :-1]
            places = torch.arange(tokens.shape[1]).unsqueeze(0)
            log_p, log_q = (
                model.logits(model(tokens, places, causal_attention))[0].log_softmax(-1)
                for model in (policy, teacher)
            )
            first = len(group.prompt) - 1
            gap = (log_p.exp() * (log_p - log_q.detach())).sum(-1)[first:]
            own = log_p[first:].gather(1, torch.tensor(rollout.tokens).unsqueeze(1)).squeeze(1)
            one = torch.zeros(len(own), dtype=torch.int64)
            advantage = torch.full_like(own, reward - mean)
            behaviour = torch.tensor(rollout.logprobs)
            loss = objective(own, behaviour, advantage, one).values_N.sum()
            total, apart, count = (
                total + loss + 0.5 * gap.sum(),
                apart + gap.sum(),
                count + len(own),
            )
    gradient = torch.autograd.grad(total / count, list(policy.parameters()))
    norm = sum(each.square().sum().item() for each in gradient) ** 0.5
    report = trainer.update(groups)
    assert report.grad_norm == pytest.approx(norm, rel=1e-3)
    assert report.teacher_kl == pytest.approx(apart.item() / count, rel=1e-3)


def test_hearing_all_of_a_teacher_takes_one_process_and_older_recipes_keep_their_digests(folder):
    recipe = recipe_with(folder, hears="all")
    with pytest.raises(OneProcessOnly, match=r'take "samples"'):
        Teacher(folder, recipe, tiny_model(0), replace(this_site(), world=2))
    assert b"hears" in recipe.canonical_bytes()
    assert recipe_from_canonical(recipe.canonical_bytes()).teacher == recipe.teacher
    assert b"hears" not in recipe_with(folder, hears="samples").canonical_bytes()


def test_groups_with_equal_rewards_are_learned_from_and_still_counted(folder):
    trainer = Trainer(tiny_model(0), recipe_with(folder))
    report = trainer.update(own_groups(trainer))
    assert (report.zero_advantage_groups, report.optimiser_steps) == (8, 1)
    bare = Trainer(tiny_model(0), tiny_recipe(optimiser=HOT)).update(own_groups_of_zero())
    assert (bare.optimiser_steps, bare.teacher_kl) == (0, None)


def own_groups_of_zero():
    return [replace(group, rewards=(0.0,) * 4) for group in tiny_groups(tiny_model(9), 0)]


def test_the_teacher_is_the_recipes_or_none(folder, tmp_path):
    right = digest_of(tiny_model(5, scale=12.0))
    Trainer(tiny_model(0), recipe_with(folder, weights=right))
    with pytest.raises(WrongTeacher, match=r"holds weights sha256:.*teacher\.weights is sha256:00"):
        Trainer(tiny_model(0), recipe_with(folder, weights=f"sha256:{'0' * 64}"))
    with pytest.raises(WrongTeacher, match="has 24 tokens, the model 32"):
        Trainer(tiny_model(0, vocab_size=32), recipe_with(folder))
    with pytest.raises(WrongTeacher, match=r"teacher\.path: "):
        Trainer(tiny_model(0), recipe_with(tmp_path / "nothing"))


def test_the_recipe_names_its_directory_among_the_files_it_reads(folder):
    recipe = recipe_with(folder)
    assert recipe.data_paths == (str(folder),)
    assert recipe_from_canonical(recipe.canonical_bytes()).teacher == recipe.teacher
    assert b"teacher" not in tiny_recipe().canonical_bytes()
