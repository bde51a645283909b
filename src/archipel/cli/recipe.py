"""`archipel recipe`: what a recipe may say, the shipped ones, and what is wrong with yours."""

from collections.abc import Iterator
from pathlib import Path

import click

from archipel.cli.doors import Mendable, at_work, show
from archipel.cli.helping import Group
from archipel.cli.lab_door import JSON
from archipel.cli.names import recipe_names


@click.group(cls=Group)
def command() -> None:
    """Shipped recipes, and checks of your own; the reference is docs/reference/recipe.md."""


@command.command("list")
@JSON
def list_(as_json: bool) -> None:
    """The shipped recipes.

    \b
    Example:
      archipel recipe list
    """
    from archipel.cli.recipes import find_any_recipe, shipped_recipes
    from archipel.records.recipe import Recipe

    rows = []
    for name, text in sorted(shipped_recipes().items()):
        recipe = find_any_recipe(name)
        environment = recipe.environment.name if isinstance(recipe, Recipe) else "text"
        about = " ".join(line.lstrip("# ") for line in _leading_comment(text)).split(". ")[0]
        rows.append({"name": name, "environment": environment, "about": about})
    show(rows, as_json, lambda: "\n".join(f"{row['name']:16} {row['about']}" for row in rows))


def _leading_comment(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        yield line


@command.command("show")
@click.argument("name", metavar="RECIPE", shell_complete=recipe_names)
@click.option("--full", is_flag=True, help="Every default filled in; comments are lost.")
@JSON
def show_(name: str, full: bool, as_json: bool) -> None:
    """Print a recipe as TOML: a shipped one by name, or a file.

    \b
    Examples:
      archipel recipe show secret-order > mine.toml
      archipel recipe show mine.toml --full
    """
    from archipel.cli.recipes import find_any_recipe, recipe_text
    from archipel.cli.toml import to_toml

    if not full and not as_json:
        click.echo(recipe_text(name), nl=False)
        return
    recipe = find_any_recipe(name)
    sections = recipe.model_dump(mode="json", exclude_none=True)
    show(sections | {"digest": recipe.digest}, as_json, lambda: to_toml(sections).rstrip("\n"))


@command.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it there.")
@click.option("--check", "is_check", is_flag=True, help="Fail if --out is not current.")
def reference(out: Path | None, is_check: bool) -> None:
    """Print the reference of all keys, made from the schema that reads recipes.

    \b
    Example:
      archipel recipe reference --out docs/reference/recipe.md
    """
    from archipel.cli.recipe_page import reference as page

    text = page()
    if out is None:
        click.echo(text, nl=False)
    elif not is_check:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    elif not out.is_file() or out.read_text("utf-8") != text:
        raise Mendable(f"{out} is not current; run `archipel recipe reference --out {out}`")


@command.command()
@click.argument("name", metavar="RECIPE", shell_complete=recipe_names)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Model directory that the run would start from [the recipe's own model].",
)
@click.option(
    "--adapter",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Adapter's directory that it would go on from, over --weights.",
)
@click.option(
    "--secret-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The verifier's secret [HOME/update/secrets/NAME].",
)
@JSON
def check(
    name: str,
    weights: Path | None,
    adapter: Path | None,
    secret_file: Path | None,
    as_json: bool,
) -> None:
    """Say what would stop a run of RECIPE: keys, environment, files, tasks, weights, prompts, secret.

    \b
    Examples:
      archipel recipe check mine.toml
      archipel recipe check mine.toml --weights start --secret-file secret
    """
    from archipel.cli.recipes import find_any_recipe
    from archipel.cli.run_start import Start, started
    from archipel.cli.secrets import found_secret, given_secret
    from archipel.records.recipe import Recipe
    from archipel.records.recipe_pretrain import PretrainRecipe

    at_work("making the first tasks, reading the weights")

    if adapter is not None and weights is None:
        raise click.UsageError("an adapter lies over given weights: name them with --weights")
    recipe = find_any_recipe(name)
    secret, missing = (given_secret(secret_file), []) if secret_file else found_secret(recipe)
    found = list(missing)
    if isinstance(recipe, Recipe):
        from archipel.work.readiness import shortcomings

        found += shortcomings(recipe, weights, secret, adapter=adapter)
    elif isinstance(recipe, PretrainRecipe):
        from archipel.work.opening import shortcomings as text_shortcomings

        given = None if weights is None else Start(weights, adapter)
        with started(given, None, recipe, "", None) as start:
            found += text_shortcomings(recipe, start.weights, at_work)
    told = {"recipe": recipe.digest, "faults": found}
    show(told, as_json, lambda: "\n".join(f"{name}: {each}" for each in found) or f"{name}: ready")
    if found:
        click.get_current_context().exit(1)
