"""The recipes that come with the package name environments that exist."""

from importlib.resources import files

import pytest

from archipel.records.programmes import parse_any
from archipel.records.recipe import Recipe
from archipel.training.environments.environment import InvalidEnvironment, make_environment

RECIPES = sorted(
    entry
    for entry in files("archipel").joinpath("recipes").iterdir()
    if entry.name.endswith(".toml")
)


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.name)
def test_a_shipped_recipe_is_valid_and_named_like_its_file(file):
    recipe = parse_any(file.read_text())
    assert recipe.run.name == file.name.removesuffix(".toml")
    if not isinstance(recipe, Recipe):
        return  # pretraining has no environment
    try:
        environment = make_environment(recipe.environment, recipe.run.seed, b"secret")
    except InvalidEnvironment as error:
        # a recipe may ask for files that the user brings or an extra that is not installed
        assert "cannot read" in str(error) or "pip install" in str(error)  # noqa: PT017
        return
    task = environment.task("train", 0)
    assert environment.grade(task, "", True) < 1.0
    if recipe.supervised is not None:
        shown = environment.supervised if recipe.episode is None else environment.demonstration
        assert shown(0) is not None
    if recipe.supervised is not None and recipe.supervised.gate is not None:
        assert environment.supervised_floor


def test_three_recipes_are_shipped():
    assert {file.name for file in RECIPES} >= {
        "secret-order.toml",
        "reasoning-gym.toml",
        "gsm8k.toml",
    }
