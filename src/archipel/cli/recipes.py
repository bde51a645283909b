"""Finding recipes: files by path, shipped ones by name."""

import difflib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TypeVar

from archipel.cli.doors import Mendable
from archipel.records.programmes import parse_any
from archipel.records.recipe import Recipe, parse_recipe
from archipel.records.recipe_form import InvalidRecipe, RecipeForm

R = TypeVar("R", bound=RecipeForm)


def shipped_recipes() -> dict[str, str]:
    """Name -> TOML text of the recipes in the package."""
    folder = resources.files("archipel") / "recipes"
    return {
        entry.name.removesuffix(".toml"): entry.read_text()
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }


def find_recipe(name: str) -> Recipe:
    """The recipe of reinforcement learning in the file `name`, or the shipped one of that name.

    Raises:
        Mendable: there is none, or it is invalid; the message lists every fault.
    """
    return _read(name, parse_recipe)


def find_any_recipe(name: str) -> RecipeForm:
    """As `find_recipe`, of whatever programme the recipe names."""
    return _read(name, parse_any)


def _read(name: str, parse: Callable[[str], R]) -> R:
    try:
        return parse(_text(name))
    except InvalidRecipe as error:
        raise Mendable(f"{name}: {error}") from None


def _text(name: str) -> str:
    path = Path(name)
    shipped = shipped_recipes()
    if path.is_file():
        return path.read_text()
    if name in shipped:
        return shipped[name]
    near = difflib.get_close_matches(name, shipped, n=1)
    known = f"shipped ones are {', '.join(sorted(shipped))}"
    hint = f"did you mean {near[0]!r}?" if near else known
    raise Mendable(f"no recipe file or shipped recipe {name!r}; {hint}")


def with_seed(recipe: Recipe, seed: int | None) -> Recipe:
    """The recipe with another run seed, or as it is."""
    if seed is None:
        return recipe
    return recipe.model_copy(update={"run": recipe.run.model_copy(update={"seed": seed})})
