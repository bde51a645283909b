"""A student and its teacher: the gradient by hand, whose weights move, what a kill costs, and who may not teach whom."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch

from archipel.model.directory import read_model, write_model
from archipel.model.network import causal_attention
from archipel.model.tokenizer import Tokenizer, byte_tokenizer, character_tokenizer
from archipel.records.rollouts import Rollout
from archipel.training.batch import Group
from archipel.training.distil import imitate, practise, texts_of, trainer_of
from archipel.training.environments.secret_order import SecretOrder
from archipel.training.lessons import (
    ON_POLICY,
    SEQUENCES,
    Given,
    NotDistillable,
    lesson_of,
    require_one_tokenizer,
)
from archipel.training.packing import plan, trees_of
from archipel.training.sft import AnothersCheckpoint
from archipel.training.teacher import digest_of
from archipel.work.distilling import sampling
from training.tiny_learner import tiny_model, tiny_recipe

torch.set_num_threads(1)
TOKENIZER = character_tokenizer()
SIZES = {"vocab_size": 64, "max_position_embeddings": 40}
RECIPE = tiny_recipe(
    run={"versions": 3, "groups_per_update": 2, "group_size": 2, "seed": 9},
    sampling={"max_new_tokens": 4},
    supervised={"steps": 3, "batch_size": 2, "decay_steps": 1, "warmup_steps": 0},
)


class Mute(SecretOrder):
    """Has tasks, and neither answers nor grades."""

    def grade(self, task, completion, finished):
        raise AssertionError("a lesson looks at no reward")

    def supervised(self, index):
        raise AssertionError("a lesson looks at no answer")


@dataclass
class School:
    """One student and one teacher in memory, the teacher on the disk, too."""

    folder: Path

    def lesson(self, way, **given):
        weights = digest_of(read_model(self.folder))
        given = {"temperature": 1.0} | given  # at 0 a teacher of random weights ends nothing
        return lesson_of(RECIPE, Given(way=way, **given), self.folder, weights, "archipel")

    def environment(self):
        return Mute({"length": 3}, 9, b"secret")

    def run(self, way, checkpoints=None, on_stand=lambda stand: None):
        """The weights after the lesson, or as much of it as was left."""
        lesson, model = self.lesson(way), tiny_model(0, **SIZES)
        student = digest_of(model)
        if way == ON_POLICY:
            trainer = trainer_of(model, lesson, student, checkpoints)
            sample = sampling(model, lesson, "cpu", lambda tokens: None)
            practise(trainer, self.environment(), TOKENIZER, sample, on_stand, checkpoints)
            return trainer.published_state()
        teacher = read_model(self.folder)
        sample = sampling(teacher, lesson, "cpu", lambda tokens: None)
        state = dict(teacher.named_parameters())
        examples = texts_of(
            lambda asked: sample(state, asked), lesson, self.environment(), TOKENIZER
        )
        imitate(model, lesson, examples, on_stand, checkpoints, student)
        return {name: each.detach().clone() for name, each in model.named_parameters()}


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> School:
    folder = tmp_path_factory.mktemp("teacher") / "model"
    teacher = tiny_model(5, scale=4.0, hidden_size=24, head_dim=6, **SIZES)
    write_model(folder, teacher, teacher.config, TOKENIZER)
    return School(folder)


def test_over_all_that_it_could_write_the_gradient_is_that_of_the_divergence_from_the_teacher(
    school,
):
    """Every token once, weighed by its probability: KL(pi || teacher) by the logits is pi (log pi - log teacher - KL)."""
    lesson = school.lesson(ON_POLICY, hears="samples")
    trainer = trainer_of(tiny_model(0, **SIZES), lesson, "")
    policy, teacher, prompt = trainer.scorer.decoder, read_model(school.folder), (2, 9, 30)

    def logits_of(model):
        ids, positions = torch.tensor([prompt]), torch.arange(3).unsqueeze(0)
        return model.logits(model(ids, positions, causal_attention))[0, -1]

    own, theirs = (logits_of(model) for model in (policy, teacher))
    log_pi, log_teacher = (
        (z - np.logaddexp.reduce(z)) for z in (x.detach().double().numpy() for x in (own, theirs))
    )
    pi = np.exp(log_pi)
    divergence = (pi * (log_pi - log_teacher)).sum()
    by_hand = torch.tensor(pi * (log_pi - log_teacher - divergence)).float()
    expected = torch.autograd.grad(own, list(policy.parameters()), by_hand)

    rollouts = tuple(Rollout((y,), (float(log_pi[y]),), True) for y in range(64))
    trees = trees_of(Group(0, prompt, rollouts, (0.0,) * 64, 0), (0.0,) * 64, 0)
    total = torch.zeros(())
    for rows in plan(trees, 4096):
        batch = trainer.scorer.batch_of(rows)
        logprobs_N, entropy_N = trainer.scorer(batch)
        loss = trainer._terms.loss(batch, logprobs_N, entropy_N)
        total = total + (loss.values_N * logprobs_N.detach().exp())[batch.mask_N].sum()
    found = torch.autograd.grad(total, list(policy.parameters()))
    assert divergence > 0.2
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("way", [ON_POLICY, SEQUENCES])
def test_a_lesson_moves_the_student_and_never_the_teacher(school, way):
    before = {path.name: path.read_bytes() for path in school.folder.iterdir()}
    start = dict(tiny_model(0, **SIZES).named_parameters())
    after = school.run(way)
    assert any(not torch.equal(after[name], start[name].bfloat16()) for name in after)
    assert {path.name: path.read_bytes() for path in school.folder.iterdir()} == before
    assert digest_of(read_model(school.folder)) == school.lesson(way).recipe.teacher.weights


@pytest.mark.parametrize("way", [ON_POLICY, SEQUENCES])
def test_a_lesson_killed_after_any_step_ends_with_the_same_weights(
    school, way, tmp_path, monkeypatch
):
    monkeypatch.setattr("archipel.training.distil.SAVE_EVERY", 1)
    whole = school.run(way, tmp_path / "whole")

    class Killed(Exception):
        pass

    def killed(stand):
        if stand.step == 2:
            raise Killed

    with pytest.raises(Killed):
        school.run(way, tmp_path / "part", killed)
    steps = []
    again = school.run(way, tmp_path / "part", lambda stand: steps.append(stand.step))
    assert steps[0] == 2, "the step that nobody was told of is taken again, and none before it"
    assert whole.keys() == again.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())


@pytest.mark.parametrize("way", [ON_POLICY, SEQUENCES])
def test_what_another_lesson_saved_is_not_gone_on_from(school, way, tmp_path, monkeypatch):
    monkeypatch.setattr("archipel.training.distil.SAVE_EVERY", 1)
    school.run(way, tmp_path)
    other, student = school.lesson(way, learning_rate=1e-3), digest_of(tiny_model(0, **SIZES))

    def go_on(lesson, student):
        if way == ON_POLICY:
            trainer_of(tiny_model(0, **SIZES), lesson, student, tmp_path)
        else:
            imitate(tiny_model(0, **SIZES), lesson, None, checkpoints=tmp_path, student=student)

    for lesson, whose in ((other, student), (school.lesson(way), "another student")):
        with pytest.raises(AnothersCheckpoint, match="remove that folder or name another output"):
            go_on(lesson, whose)


def test_a_text_that_the_teacher_does_not_end_is_passed_over(school):
    lesson = school.lesson(SEQUENCES)

    def write(requests):
        return [[Rollout((7, 1), (-1.0, -1.0), int(each.key) % 2 == 1)] for each in requests]

    examples = texts_of(write, lesson, school.environment(), TOKENIZER)
    assert examples(0) == examples(1) != examples(2) == examples(3)
    never = texts_of(
        lambda asked: [[Rollout((7,), (-1.0,), False)] for _ in asked],
        lesson, school.environment(), TOKENIZER,
    )  # fmt: skip
    with pytest.raises(NotDistillable, match=r"ended none of 256 .*max_new_tokens = 4"):
        never(0)


def test_a_teacher_of_another_tokenizer_is_refused_by_name():
    require_one_tokenizer(character_tokenizer(), character_tokenizer(), ("a", "b"))
    names = ("small", "large")
    with pytest.raises(
        NotDistillable, match=r"student small and teacher large .*64 and 259 tokens"
    ):
        require_one_tokenizer(character_tokenizer(), byte_tokenizer(), names)
    swapped = tokenizers.Tokenizer.from_str(
        TOKENIZER.backend.to_str().replace('"b":4', '"b":3').replace('"a":3', '"a":4', 1)
    )
    as_large = Tokenizer(swapped, TOKENIZER.bos_token, TOKENIZER.eos_token, TOKENIZER.pad_token)
    assert as_large.vocab_size == 64
    with pytest.raises(NotDistillable, match=r"tokenizer\.json differs in model"):
        require_one_tokenizer(TOKENIZER, as_large, names)
    with pytest.raises(NotDistillable, match="they need a common one"):
        require_one_tokenizer(TOKENIZER, replace(TOKENIZER, end_ids=(5,)), names)


def test_of_a_recipe_for_rewards_the_tasks_are_left(school):
    recipe = tiny_recipe(
        algorithm={"refill": 2},
        reference={"coefficient": 0.1},
        curriculum={"pool": 64},
    )
    lesson = lesson_of(
        recipe,
        Given(ON_POLICY, steps=7, temperature=0.5),
        school.folder,
        f"sha256:{'0' * 64}",
        "archipel",
    )
    made = lesson.recipe
    assert (made.curriculum, made.reference.coefficient, made.algorithm.refill) == (None, 0.0, 0)
    assert (made.run.versions, made.sampling.temperature, made.teacher.rewards) == (
        7,
        0.5,
        "ignored",
    )
    with pytest.raises(NotDistillable, match="temperature"):
        lesson_of(
            recipe,
            Given(ON_POLICY, temperature=0.0),
            school.folder,
            f"sha256:{'0' * 64}",
            "archipel",
        )
    usual = [
        lesson_of(recipe, Given(way), school.folder, f"sha256:{'0' * 64}", "archipel").temperature
        for way in (ON_POLICY, SEQUENCES)
    ]
    assert usual == [recipe.sampling.temperature, 0.0]
    with pytest.raises(NotDistillable, match=r"\[adapter\]"):
        lesson_of(
            tiny_recipe(adapter={"rank": 2, "alpha": 4.0}), Given(), school.folder, "", "archipel"
        )
