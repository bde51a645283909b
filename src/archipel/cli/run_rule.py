"""`archipel run pause`, `resume`, `stop` and `retry`: what an operator says of a run that is open."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import LAB
from archipel.cli.keys import operator_key
from archipel.cli.lab_door import ask_lab
from archipel.cli.names import run_names

if TYPE_CHECKING:
    pass

NAME = click.argument("name", shell_complete=run_names)
KEY = click.option("--key", type=click.Path(path_type=Path), help="[~/.archipel/lab/operator.key]")


@click.command()
@NAME
@click.option("--reason", default="the operator said so", show_default=True, help="For the ledger.")
@KEY
@LAB
def pause(name: str, reason: str, key: Path | None, lab_url: str) -> None:
    """Hand out no more work of a run until it is resumed; nodes work for other runs meanwhile.

    Besides the operator, a trusted role may say this, and does so by itself where a recipe has alarms.pause.
    What is in nodes' hands may still be answered, and is paid. A resumed run goes on where it was; with
    max_staleness 0 to the same weights, bit for bit, as if it had never been paused.

    \b
    Example:
      archipel run pause secret-order --reason "the machine is needed until Monday"
    """
    from archipel.node.operator import pause_run

    ask_lab(pause_run(lab_url, operator_key(key), name, reason))
    click.echo(f"run {name} is paused; resume with `archipel run resume {name}`")


@click.command()
@NAME
@KEY
@LAB
def resume(name: str, key: Path | None, lab_url: str) -> None:
    """Let a paused run go on where it was.

    \b
    Example:
      archipel run resume secret-order
    """
    from archipel.node.operator import resume_run

    ask_lab(resume_run(lab_url, operator_key(key), name))
    click.echo(f"run {name} goes on")


@click.command()
@NAME
@click.option(
    "--reason", default="stopped by the operator", show_default=True, help="For the ledger."
)
@KEY
@LAB
def stop(name: str, reason: str, key: Path | None, lab_url: str) -> None:
    """End a run early; what was accepted stays accepted and paid.

    \b
    Example:
      archipel run stop secret-order --reason "reward has converged"
    """
    from archipel.node.operator import stop_run

    ask_lab(stop_run(lab_url, operator_key(key), name, reason))
    click.echo(f"run {name} is stopped")


@click.command()
@NAME
@KEY
@LAB
def retry(name: str, key: Path | None, lab_url: str) -> None:
    """Hand out work of a run again at once, after what made it fail was mended (see why-stuck).

    Work that fails time after time rests on the machine where it failed, longer each time. Besides the
    operator, a trusted role may say this: --key ~/.archipel/update/node.key.

    \b
    Example:
      archipel run retry secret-order
    """
    from archipel.node.operator import retry_run

    ask_lab(retry_run(lab_url, operator_key(key), name))
    click.echo(f"work of run {name} is handed out again")
