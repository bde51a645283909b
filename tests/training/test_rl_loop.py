"""The loop in lock step: whose weights sample, which groups an update sees, and what a kill costs."""

from dataclasses import replace

import pytest
import tokenizers
import torch

from archipel.model.tokenizer import Tokenizer, character_tokenizer
from archipel.records.rollouts import Rollout
from archipel.records.seeds import group_seed
from archipel.training.environments.secret_order import SecretOrder
from archipel.training.groups import answer_ids, group_request, prompt_ids, stop_ids, submissions
from archipel.training.rl import Rehearsal, reinforce
from archipel.training.trainer import Trainer
from training.tiny_learner import tiny_model, tiny_recipe

torch.set_num_threads(1)
TOKENIZER = character_tokenizer()
ENVIRONMENT = SecretOrder({"length": 3}, 5, b"secret")
RECIPE = tiny_recipe(
    run={"versions": 3, "groups_per_update": 2, "group_size": 2, "seed": 9},
    sampling={"max_new_tokens": 4, "temperature": 0.5},
)


def new_trainer() -> Trainer:
    return Trainer(tiny_model(vocab_size=64, max_position_embeddings=32), RECIPE)


class Stage:
    """Samples by the requests alone, pays by the text alone, and remembers what it was shown."""

    def __init__(self) -> None:
        self.states, self.requests, self.shown = [], [], []
        self.rehearsal = Rehearsal(RECIPE, ENVIRONMENT, TOKENIZER, self.sample, self.grade)

    def sample(self, state, requests):
        self.states.append(state)
        self.requests += requests
        return [
            [
                Rollout((3 + (request.seed + n) % 60, TOKENIZER.eos_id), (-1.0, -0.5), n == 0)
                for n in range(request.num_rollouts)
            ]
            for request in requests
        ]

    def grade(self, shown):
        self.shown += shown
        return [float(TOKENIZER.encode(each.completion)[0]) for each in shown]


def test_a_request_says_what_the_recipe_and_the_groups_number_say():
    request = group_request(RECIPE, ENVIRONMENT, TOKENIZER, 11)
    text = ENVIRONMENT.task("train", 11).prompt
    assert request.prompt == (TOKENIZER.bos_id, *TOKENIZER.encode(text))
    assert request.key == "11"
    assert request.seed == group_seed(9, 11) != group_seed(9, 12)
    assert (request.num_rollouts, request.max_new_tokens, request.temperature) == (2, 4, 0.5)
    assert request.stop_tokens == (TOKENIZER.eos_id,)


def test_a_tokenizer_that_frames_nothing_and_ends_nothing_adds_none():
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 7, "b": 8}, []))
    bare = Tokenizer(backend)
    assert prompt_ids(bare, "ab") == (7, 8)
    assert stop_ids(bare) == answer_ids(bare, "") == ()


def test_the_grader_is_shown_the_text():
    completions = [Rollout((5, 6), (-1.0, -2.0), True), Rollout((7,), (-3.0,), False)]
    shown = submissions(4, completions, TOKENIZER)
    assert [(each.split, each.index, each.finished) for each in shown] == [
        ("train", 4, True), ("train", 4, False),
    ]  # fmt: skip
    assert [each.completion for each in shown] == [TOKENIZER.decode((5, 6)), TOKENIZER.decode((7,))]


def test_each_version_learns_its_own_groups_sampled_from_its_own_weights(monkeypatch):
    stage, trainer, learned, published = Stage(), new_trainer(), [], []
    update = Trainer.update

    def watched(self, groups):
        published.append(self.published_state())
        learned.append(groups)
        return update(self, groups)

    monkeypatch.setattr(Trainer, "update", watched)
    reports = []
    reinforce(trainer, stage.rehearsal, reports.append)
    assert trainer.version == 3
    assert [report.version for report in reports] == [1, 2, 3]
    assert [request.key for request in stage.requests] == [str(n) for n in range(6)]
    assert [[group.index for group in groups] for groups in learned] == [[0, 1], [2, 3], [4, 5]]
    assert [{group.policy_version for group in groups} for groups in learned] == [{0}, {1}, {2}]
    for state, expected in zip(stage.states, published, strict=True):
        assert all(torch.equal(state[name], expected[name]) for name in expected)
    for groups in learned:
        for group in groups:
            assert group.rewards == tuple(float(each.tokens[0]) for each in group.rollouts)
    assert any(not torch.equal(stage.states[0][n], stage.states[2][n]) for n in stage.states[0])


def test_a_loop_killed_after_any_report_ends_with_the_same_weights(tmp_path):
    whole = new_trainer()
    reinforce(whole, Stage().rehearsal, checkpoints=tmp_path / "whole")
    assert Trainer.restore(tmp_path / "whole").version == 3

    class Killed(Exception):
        pass

    def killed(report):
        if report.version == 2:
            raise Killed

    with pytest.raises(Killed):
        reinforce(new_trainer(), Stage().rehearsal, killed, tmp_path / "part")
    again = Trainer.restore(tmp_path / "part")
    assert again.version == 1, "a version is saved only after its report was seen"
    reinforce(again, Stage().rehearsal)
    expected = whole.published_state()
    assert all(torch.equal(expected[n], tensor) for n, tensor in again.published_state().items())


def test_a_sampler_that_gives_another_number_of_groups_is_refused_before_anything_is_graded():
    stage = Stage()
    short = replace(
        stage.rehearsal, sample=lambda state, requests: stage.sample(state, requests)[1:]
    )
    with pytest.raises(ValueError, match="shorter"):
        reinforce(new_trainer(), short)
    assert not stage.shown
