"""`archipel plan check`: what others published, recomputed here, difference by difference."""

import sys
from dataclasses import asdict

import click

from archipel.cli.doors import columns, mending, show


@click.command("check")
@click.argument("part", default="")
@click.option("--json", "as_json", is_flag=True, help="Print data for machines.")
@click.option(
    "--coverage", is_flag=True, help="Instead: how far fits hold on measured figures left out."
)
@click.option(
    "--refit",
    is_flag=True,
    help="Instead: the constants of utilisation and of serving, fitted anew, as tables.",
)
def command(part: str, as_json: bool, coverage: bool, refit: bool) -> None:
    """Recompute published figures and show how far apart they are.

    PART picks the figures whose name or request contains it; without it, all. How near each came is
    said by one rule, which stands above the list; so is how many our 90% intervals hold. A figure marked *
    was not read at its source. Exit code 1 if one differs by more than 15%.

    \b
    Examples:
      archipel plan check
      archipel plan check llama
      archipel plan check serve --json
      archipel plan check --coverage
    """
    if coverage or refit:
        if part or (coverage and refit):
            raise click.UsageError(
                "--coverage and --refit stand alone: without PART, one at a time"
            )
        _fits(as_json, refit)
        return
    from archipel.planning.checking import check, checked_text, chosen
    from archipel.planning.mistakes import CannotPlan

    with mending(CannotPlan):
        found = []
        for number, name in enumerate(names := chosen(part), 1):
            if sys.stderr.isatty():
                click.echo(f"\r{number}/{len(names)}", nl=False, err=True)
            found.append(check(name))
        if sys.stderr.isatty():
            click.echo("\r", nl=False, err=True)
        data = [
            asdict(each)
            | {"apart": each.apart, "grade": each.grade, "agrees": each.agrees, "held": each.held}
            for each in found
        ]
        show(data, as_json, lambda: checked_text(found, columns()))
    if not all(each.agrees for each in found):
        sys.exit(1)


def _fits(as_json: bool, refit: bool) -> None:
    """What is fitted here: how far it holds, or its constants."""
    from archipel.planning import covering, fitting, serving_fit

    if refit:
        tables = {"utilisation": fitting.table(), "serve": serving_fit.table()}
        show(tables, as_json, lambda: f"{fitting.table_text()}\n\n{serving_fit.table_text()}")
        return
    found = []
    for field in covering.FIELDS:
        if sys.stderr.isatty():
            click.echo(f"\r{field:20}", nl=False, err=True)
        found += covering.coverage(field)
    if sys.stderr.isatty():
        click.echo("\r", nl=False, err=True)
    show(covering.for_json(found), as_json, lambda: covering.coverage_text(found))
