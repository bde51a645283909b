"""Names for the shell's completion: runs of the lab that is named on the line, and recipes."""

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
