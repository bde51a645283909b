"""The loop in one process: what a model says meets no evaluator in it."""

from pathlib import Path

import pytest

from archipel.bench.central import grader_for
from archipel.records.recipe import Recipe
from archipel.training.environments.environment import make_environment
from archipel.training.grading import Submission
from tiny import SECRET, tiny_recipe


def recipe_with(environment: dict[str, object]) -> Recipe:
    told = tiny_recipe(1, 0).model_dump()
    return Recipe.model_validate(told | {"environment": environment})


@pytest.mark.slow
def test_a_text_that_may_be_evaluated_is_graded_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = recipe_with({"name": "reasoning_gym", "parameters": {"task": "string_insertion"}})
    environment = make_environment(recipe.environment, 0, None)
    grader = grader_for(recipe, environment, SECRET)
    assert grader is not None
    text = "[__import__('pathlib').Path('seen').write_text('x')]"
    assert grader.grade([Submission("train", 0, text, True)]) == (0.0,)
    assert not list(tmp_path.iterdir())
    grader.close()


def test_texts_that_are_only_compared_stay_in_the_process() -> None:
    recipe = tiny_recipe(1, 0)
    environment = make_environment(recipe.environment, 0, SECRET)
    assert grader_for(recipe, environment, SECRET) is None
