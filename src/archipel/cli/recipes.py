"""Finding recipes: files by path, shipped ones by name."""

import difflib
from importlib import resources
from pathlib import Path

from archipel.cli.doors import Mendable
from archipel.records.recipe import InvalidRecipe, Recipe, parse_recipe


def shipped_recipes() -> dict[str, str]:
    """Name -> TOML text of the recipes in the package."""
    folder = resources.files("archipel") / "recipes"
    return {
        entry.name.removesuffix(".toml"): entry.read_text()
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }


def find_recipe(name: str) -> Recipe:
    """The recipe in the file `name`, or the shipped one of that name.

    Raises:
        Mendable: there is none, or it is invalid; the message lists every fault.
    """
    path = Path(name)
    shipped = shipped_recipes()
    if path.is_file():
        text = path.read_text()
    elif name in shipped:
        text = shipped[name]
    else:
        near = difflib.get_close_matches(name, shipped, n=1)
        hint = (
            f"did you mean {near[0]!r}?"
            if near
            else f"shipped ones are {', '.join(sorted(shipped))}"
        )
        raise Mendable(f"no recipe file or shipped recipe {name!r}; {hint}")
    try:
        return parse_recipe(text)
    except InvalidRecipe as error:
        raise Mendable(f"{name}: {error}") from None


def with_seed(recipe: Recipe, seed: int | None) -> Recipe:
    """The recipe with another run seed, or as it is."""
    if seed is None:
        return recipe
    return recipe.model_copy(update={"run": recipe.run.model_copy(update={"seed": seed})})
