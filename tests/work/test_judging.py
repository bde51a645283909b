"""A measurement that did not happen is an error and never a zero."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from archipel.cli.archipel import run
from archipel.model.config import DecoderConfig
from archipel.model.directory import write_model
from archipel.model.network import random_weights
from archipel.model.tokenizer import character_tokenizer
from archipel.training.environments.task import MissingSecret
from archipel.work import judging
from archipel.work.judging import NothingGraded, Trial, judge
from tiny import SECRET, tiny_recipe

torch.set_num_threads(1)
RECIPE = tiny_recipe(1, 0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tokenizer = character_tokenizer()
    config = DecoderConfig.from_section(RECIPE.model, tokenizer)
    write_model(tmp_path / "model", random_weights(config, 0), config, tokenizer)
    return tmp_path / "model"


class Failing:
    """A grader that cannot grade the first answers."""

    def __init__(self, *_: Any) -> None:
        self.faults: Counter[str] = Counter()

    def __enter__(self) -> "Failing":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def grade(self, submissions: list[Any]) -> list[float]:
        failed = min(self.count, len(submissions))
        self.faults["timeout"] += failed
        return [0.0] * failed + [1.0] * (len(submissions) - failed)

    count = 0


def test_without_the_secret_nothing_is_sampled_and_no_score_is_given(model: Path) -> None:
    with pytest.raises(MissingSecret, match=r"secret 'secret-order'.*--secret-file"):
        judge(model, RECIPE, None, Trial(4))


def test_a_score_is_given_only_if_some_answer_could_be_graded(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "grader_of", Failing)
    monkeypatch.setattr(Failing, "count", 2)
    with pytest.raises(NothingGraded, match=r"none of 2 answers could be graded \(timeout: 2\)"):
        judge(model, RECIPE, SECRET, Trial(4))
    monkeypatch.setattr(Failing, "count", 1)
    judgement = judge(model, RECIPE, SECRET, Trial(4))
    assert judgement.faults == {"timeout": 1}
    assert judgement.greedy.greedy.value == 0.5


def test_eval_without_the_secret_ends_as_one_sentence(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["eval", str(model), "secret-order", "--tasks", "4"])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert "--secret-file" in said.err
    assert len(said.err.splitlines()) <= 2
    assert not said.out
