"""Finding recipes: files by path, shipped ones by name.

Law: a recipe's own files are found from the recipe's file, a shipped one's from the folder at hand, and
stand in it with their whole path from then on: whoever reads it elsewhere opens the same file, or none.
"""

import difflib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from archipel.cli.doors import Mendable
from archipel.records.canonical import NotCanonical
from archipel.records.programmes import parse_any
from archipel.records.recipe import Recipe, names_file
from archipel.records.recipe_faults import explain
from archipel.records.recipe_form import InvalidRecipe, RecipeForm, Section
from archipel.records.recipe_pretrain import PretrainRecipe

MAX_RECIPE_BYTES = 1024 * 1024

R = TypeVar("R", bound=RecipeForm)


def shipped_recipes() -> dict[str, str]:
    """Name -> TOML text of the recipes in the package."""
    folder = resources.files("archipel") / "recipes"
    return {
        entry.name.removesuffix(".toml"): entry.read_text("utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    }


def find_recipe(name: str) -> Recipe:
    """The recipe of reinforcement learning in the file `name`, or the shipped one of that name.

    Raises:
        Mendable: there is none, it is of another programme, or it is invalid; the message lists every fault.
    """
    recipe = find_any_recipe(name)
    if not isinstance(recipe, Recipe):
        raise Mendable(
            f"{name} is a recipe of {recipe.run.programme}; this command is for those of rl (`archipel run open` takes both)"
        )
    return recipe


def find_any_recipe(name: str) -> RecipeForm:
    """As `find_recipe`, of whatever programme the recipe names."""
    return _read(name, parse_any)


def _read(name: str, parse: Callable[[str], R]) -> R:
    try:
        return _placed(parse(_text(name)), _folder(name))
    except InvalidRecipe as error:
        raise Mendable(f"{name}: {error}") from None


def _placed(recipe: R, folder: Path) -> R:
    """The recipe with every file that it names by its whole path. Raises InvalidRecipe."""
    if isinstance(recipe, PretrainRecipe):
        return _recordable(recipe.model_copy(update=_text_places(recipe, folder)), folder)
    if not isinstance(recipe, Recipe):
        return recipe
    section = recipe.environment
    placed = {
        key: str(folder / value)
        for key, value in section.parameters.items()
        if names_file(key) and isinstance(value, str) and value
    }
    environment = section.model_copy(update={"parameters": {**section.parameters, **placed}})
    teacher = recipe.teacher
    if teacher is not None:
        teacher = teacher.model_copy(update={"path": str(folder / teacher.path)})
    return _recordable(
        recipe.model_copy(update={"environment": environment, "teacher": teacher}), folder
    )


def _text_places(recipe: PretrainRecipe, folder: Path) -> dict[str, Section]:
    """Its sections that name folders of text, by their whole paths."""
    corpus, merge, exam = recipe.corpus, recipe.merge, recipe.evaluation
    gate_path = str(folder / merge.gate_path) if merge.gate_path else ""
    exam_path = str(folder / exam.path) if exam.path else ""
    return {
        "corpus": corpus.model_copy(update={"path": str(folder / corpus.path)}),
        "merge": merge.model_copy(update={"gate_path": gate_path}),
        "evaluation": exam.model_copy(update={"path": exam_path}),
    }


def _recordable(moved: R, folder: Path) -> R:
    """Raises InvalidRecipe: the folder's name is none that a record holds."""
    try:
        moved.canonical_bytes()
    except NotCanonical as error:
        raise InvalidRecipe(f"{str(folder)!r:.200} cannot stand in a recipe: {error}") from None
    return moved


def _folder(name: str) -> Path:
    """What the recipe's relative paths count from."""
    path = Path(name).absolute()
    return path.parent if path.is_file() else Path.cwd()


def _text(name: str) -> str:
    shipped = shipped_recipes()
    data = _bytes_of_file(name)
    if data is not None:
        return _decoded(name, data)
    if name in shipped:
        return shipped[name]
    near = difflib.get_close_matches(name, shipped, n=1)
    known = f"shipped ones are {', '.join(sorted(shipped))}"
    hint = f"did you mean {near[0]!r}?" if near else known
    raise Mendable(f"no recipe file or shipped recipe {name!r}; {hint}")


def recipe_text(name: str) -> str:
    """The TOML text of the file `name`, or of the shipped recipe of that name, as it stands."""
    return _text(name)


def _bytes_of_file(name: str) -> bytes | None:
    """What the file holds; None if there is none."""
    try:
        with Path(name).open("rb") as file:
            data = file.read(MAX_RECIPE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise Mendable(f"{name!r:.200} cannot be read as a recipe: {said}") from None
    if len(data) > MAX_RECIPE_BYTES:
        raise Mendable(f"{name}: more than {MAX_RECIPE_BYTES} bytes; this is no recipe")
    return data


def _decoded(name: str, data: bytes) -> str:
    """UTF-8 whatever the locale, with or without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Mendable(
            f"{name}: line {line} is not UTF-8 ({error.reason}); save the file as UTF-8"
        ) from None


def with_exact(recipe: Recipe, variant: str | None) -> Recipe:
    """The recipe sampled by the exact contract of this variant, or as it is."""
    return recipe if variant is None else recipe.by_variant(variant)


def with_seed(recipe: Recipe, seed: int | None) -> Recipe:
    """The recipe with another run seed, or as it is."""
    if seed is None:
        return recipe
    return recipe.model_copy(update={"run": recipe.run.model_copy(update={"seed": seed})})


def with_stop(recipe: Recipe, stop: tuple[str, ...]) -> Recipe:
    """The recipe with other stop strings, or as it is.

    Raises:
        Mendable: they are none, or the recipe has no place for them.
    """
    if not stop:
        return recipe
    told = recipe.model_dump()
    told["sampling"]["stop"] = stop
    try:
        changed = Recipe.model_validate(told)
    except ValidationError as error:
        raise Mendable(f"--stop with recipe {recipe.run.name}: {explain(error)}") from None
    if changed.vain:
        raise Mendable(f"--stop with recipe {recipe.run.name}: {changed.vain}")
    return changed


def with_versions(recipe: Recipe, versions: int | None) -> Recipe:
    """The recipe with another number of updates, or as it is."""
    if versions is None:
        return recipe
    run = recipe.run.model_copy(update={"versions": versions})
    return recipe.model_copy(update={"run": run})
