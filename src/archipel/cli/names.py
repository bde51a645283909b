"""Names for the shell's completion: runs of the lab that is named on the line, recipes, the planner's constants."""

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from archipel.cli.doors import DEFAULT_LAB_URL

PATIENCE_S = 2.0
"""A shell that waits longer for a name is worse than one that offers none."""


def run_names(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Runs that begin so; none when the lab does not answer at once."""
    import httpx

    url = str(context.params.get("lab_url") or DEFAULT_LAB_URL).rstrip("/")
    try:
        answer = httpx.get(f"{url}/runs", timeout=PATIENCE_S, trust_env=False)
        runs = [(str(run["run"]), str(run["phase"])) for run in answer.json()]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return []
    return [CompletionItem(name, help=phase) for name, phase in runs if name.startswith(begun)]


def recipe_names(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Shipped recipes that begin so, then files."""
    from archipel.cli.recipes import shipped_recipes

    shipped = [CompletionItem(name) for name in sorted(shipped_recipes()) if name.startswith(begun)]
    return shipped or [CompletionItem(begun, type="file")]


Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
GROUPS = {
    "accelerator": "accelerator",
    "kind": "accelerator",
    "hardware": "accelerator",
    "country": "energy.price",
    "fit": "law.chinchilla",
    "rl_recipe": "law.scalerl",
    "model": "serve.model",
    "region": "rental.region",
}
"""Option of a question -> the constants whose names it takes."""


def members_of(option: str) -> Completer | None:
    """Completes what the tables know for an option of the planner; None where it takes no name of theirs.

    After a comma the next one is completed.
    """
    group = GROUPS.get(option)
    if group is None:
        return None

    def complete(
        context: click.Context, parameter: click.Parameter, begun: str
    ) -> list[CompletionItem]:
        from archipel.planning.tables import shelf

        known, (before, comma, last) = shelf(), begun.rpartition(",")
        return [
            CompletionItem(f"{before}{comma}{name}", help=known.fact(f"{group}.{name}.title"))
            for name in known.members(group)
            if name.startswith(last)
        ]

    return complete


def constant_names(
    context: click.Context, parameter: click.Parameter, begun: str
) -> list[CompletionItem]:
    """Groups of constants that begin so, then their members, one word of the dotted name at a time."""
    from archipel.planning.tables import shelf

    inside = begun.rpartition(".")[0]
    depth = inside.count(".") + 1 if inside else 0
    words = [name.split(".") for name in shelf().entries if name.startswith(begun)]
    found = dict.fromkeys(".".join(parts[: depth + 1]) for parts in words)
    return [CompletionItem(name) for name in found]
