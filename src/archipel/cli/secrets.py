"""The verifier's secrets on this machine, as the trusted role looks for them."""

from pathlib import Path

from archipel.cli.doors import home_folder
from archipel.records.recipe_form import RecipeForm


def given_secret(path: Path) -> bytes:
    """What --secret-file names, read as the trusted role reads its own."""
    from archipel.node.secrets import MAX_SECRET_BYTES

    with path.open("rb") as file:
        return file.read(MAX_SECRET_BYTES)


def found_secret(recipe: RecipeForm) -> tuple[bytes | None, list[str]]:
    """(the recipe's secret if it names one and it lies here, why this machine's trusted role could not grade)."""
    from archipel.node.secrets import NoSecret, read_secret

    name = recipe.secret_name
    if name is None:
        return None, []
    try:
        return read_secret(home_folder("update", None, make=False) / "secrets", name), []
    except (NoSecret, OSError) as error:
        return None, [str(error)]
