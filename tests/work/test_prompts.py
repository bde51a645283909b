"""What a node could only fail at is found before any node is asked, or is worth nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch

from archipel.model.directory import read_config, read_model, write_model
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.training.environments.task import Task
from archipel.work.kind import WorkFailed
from archipel.work.kinds.update import Updates
from archipel.work.prompts import Prompts
from tiny import tiny_recipe, write_start
from work.asked import TOKENIZER
from work.test_update_resume import Trusted

RECIPE = tiny_recipe(3, 0)
CONTEXT, NEW = 32, 6
ROOM = CONTEXT - NEW


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_start(tmp_path_factory.mktemp("start"))


class Letters:
    """Tasks of as many letters as the test says; the begin-of-sequence id comes before them."""

    supervised_floor = None

    def __init__(self, lengths: dict[int, int], broken: int = -1) -> None:
        self._lengths, self._broken = lengths, broken

    def task(self, split: str, index: int) -> Task:
        if index == self._broken:
            raise IndexError("no such entry")
        return Task(index=index, split=split, prompt="a" * self._lengths.get(index, 4))

    def grade(self, task: Task, completion: str, finished: bool) -> float:
        return 0.0

    def supervised(self, index: int) -> None:
        return None


def prompts(lengths: dict[int, int], context: int = CONTEXT, broken: int = -1) -> Prompts:
    return Prompts(RECIPE, Letters(lengths, broken), TOKENIZER, context)


def test_prompts_that_just_fit_pass_and_longer_ones_are_named() -> None:
    prompts({5: ROOM - 1}).look_ahead()
    with pytest.raises(WorkFailed) as refused:
        prompts({5: ROOM, 7: 100}).look_ahead()
    told = str(refused.value)
    assert told.startswith("2 of the run's first 12 prompts do not fit: beside 6 new tokens")
    assert f"room for {ROOM}, but that of group 5 has {ROOM + 1} tokens, that of group 7" in told


def test_a_completion_as_long_as_the_context_is_refused() -> None:
    with pytest.raises(WorkFailed, match="max_new_tokens is 6, but the model takes 6 tokens"):
        prompts({}, context=NEW).look_ahead()


def test_a_task_that_cannot_be_made_is_named() -> None:
    told = "the task of group 9 cannot be made: IndexError: no such entry"
    with pytest.raises(WorkFailed, match=told):
        prompts({}, broken=9).look_ahead()


def test_what_was_not_looked_at_is_cut_so_that_nodes_can_do_the_rest(tmp_path: Path) -> None:
    made = prompts({1: 100})
    made.look_ahead(limit_s=-1.0)
    made.write(0, tmp_path)
    assert [len(made.request(group).prompt) for group in range(3)] == [5, ROOM, 5]
    assert [made.is_cut(group) for group in range(3)] == [False, True, False]


def with_new_tokens(recipe: Recipe, number: int) -> Recipe:
    sampling = recipe.sampling.model_copy(update={"max_new_tokens": number})
    return recipe.model_copy(update={"sampling": sampling})


@pytest.mark.slow
def test_version_0_of_a_run_whose_prompts_do_not_fit_is_not_made(
    tmp_path: Path, start: Path
) -> None:
    kind = Updates()
    trusted = Trusted(tmp_path, start, with_new_tokens(RECIPE, CONTEXT - 2))
    with pytest.raises(WorkFailed, match="12 of the run's first 12 prompts do not fit"):
        trusted.ask(kind, "memory")
    kind.close()


def test_version_0_of_weights_that_are_no_numbers_is_not_made(tmp_path: Path, start: Path) -> None:
    config, state = read_config(start), broken(start)
    write_model(tmp_path / "nan", state, config, Tokenizer.from_directory(start))
    kind = Updates()
    with pytest.raises(WorkFailed, match=r"not all numbers: model\.norm\.weight is not finite"):
        Trusted(tmp_path, tmp_path / "nan", RECIPE).ask(kind, "memory")
    kind.close()


def broken(start: Path) -> dict[str, Any]:
    state = dict(read_model(start).state_dict())
    state["model.norm.weight"] = torch.full_like(state["model.norm.weight"], float("nan"))
    return state


def test_answers_to_a_cut_prompt_earn_nothing_and_the_metrics_say_so(
    tmp_path: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both orders of the two letters are answered, so every other group has an answer that earns."""
    monkeypatch.setattr(Prompts, "is_cut", lambda self, index: index == 2)
    kind, trusted = Updates(), Trusted(tmp_path, start, RECIPE)
    monkeypatch.setattr(Prompts, "look_ahead", lambda self, limit_s: None)
    trusted.accept(trusted.ask(kind, "memory"))
    made = trusted.ask(kind, "memory")
    assert made.values["metrics"]["cut_prompts"] == 1
    assert made.values["metrics"]["zero_advantage_groups"] == 1
    kind.close()
