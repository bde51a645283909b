"""The verifier's secrets on this machine, as the trusted role looks for them, and those that a command is given."""

from pathlib import Path

from archipel.cli.doors import home_folder, mending
from archipel.records.recipe_form import RecipeForm


def given_secret(path: Path | None) -> bytes | None:
    """What --secret-file names, if it was given; the one way in which every command reads it.

    Raises:
        Mendable: it cannot be read, or is no secret.
    """
    from archipel.node.secrets import NoSecret, read_secret_file

    if path is None:
        return None
    with mending(OSError, NoSecret):
        return read_secret_file(path)


def found_secret(recipe: RecipeForm, home: Path | None = None) -> tuple[bytes | None, list[str]]:
    """(the recipe's secret if it names one and it lies here, why this machine's trusted role could not grade).

    home: the trusted role's folder, if it is not where it usually is.
    """
    from archipel.node.secrets import NoSecret, read_secret

    name = recipe.secret_name
    if name is None:
        return None, []
    try:
        return read_secret(home_folder("update", home, make=False) / "secrets", name), []
    except (NoSecret, OSError) as error:
        return None, [str(error)]
