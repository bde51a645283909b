"""`archipel update`: the trusted role, which learns and evaluates."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.agents import agent_options
from archipel.cli.doors import (
    FEW_SHAPES,
    child_environment,
    home_folder,
    readable_folders,
    thread_environment,
)
from archipel.cli.engines import device_option
from archipel.cli.helping import Group
from archipel.cli.lab_door import MIRRORS
from archipel.cli.update_ranks import check_free, ranks_of, site_options
from archipel.cli.update_ranks import ranks as lend_ranks

if TYPE_CHECKING:
    from archipel.node.ranks import Ranks


@click.group(cls=Group)
def command() -> None:
    """Run the trusted role of a run."""


command.add_command(lend_ranks)


@command.command()
@agent_options
@site_options
@device_option("learns and evaluates")
@MIRRORS
@click.option("--kinds", metavar="KIND,...", help="Which trusted work to take [all].")
@click.option(
    "--secrets", type=click.Path(path_type=Path), help="Folder of secrets [HOME/secrets]."
)
@click.option(
    "--any-recipe",
    is_flag=True,
    help="Do runs whose recipe was not approved here; a recipe names files that this role reads.",
)
@click.option(
    "--turns-network",
    is_flag=True,
    help="Let environments that answer turns reach the network; without it they reach nothing.",
)
@click.option(
    "--max-memory-gb",
    type=click.FloatRange(min=0, min_open=True),
    help="Address space of the work process [on cpu three quarters of this machine's memory, at "
    "least 4; elsewhere no bound].",
)
@click.option(
    "--readable",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, resolve_path=True),
    metavar="PATH",
    help="A file or folder that environments may read besides what recipes name; repeatable.",
)
def join(
    lab_url: str,
    home: Path | None,
    metrics_port: int | None,
    quiet: bool,
    **given: Any,
) -> None:
    """Join LAB_URL as the trusted role; its key must be named when the run is opened.

    It does only runs whose recipe was approved on this machine: by `archipel run open`, or by
    `archipel update approve`.

    \b
    Examples:
      archipel update key                      this machine's did, for `run open --trust`
      archipel update join http://127.0.0.1:8440
      archipel update join http://lab.example:8440 --kinds evaluate
      archipel update join http://lab.example:8440 --ranks 2
      archipel update join http://lab.example:8440 --device cuda
      archipel update join http://lab.example:8440 --mirror https://mirror.example/lab
    """
    from archipel.cli.agents import run_agent
    from archipel.node.settings import NodeSettings

    kinds, ranks = _kinds(given.pop("kinds")), _ranks(given)
    settings = NodeSettings(lab_url=lab_url, kinds=kinds, ranks=ranks, **_trusted(given, home))
    run_agent(settings, metrics_port, quiet)


def _kinds(said: str | None) -> tuple[str, ...]:
    from archipel.records.kinds import TRUSTED_ROLE

    chosen = tuple(kind.strip() for kind in said.split(",")) if said else TRUSTED_ROLE
    if not set(TRUSTED_ROLE).issuperset(chosen):
        raise click.BadParameter(
            f"{said!r}: expected some of {', '.join(TRUSTED_ROLE)}", param_hint="--kinds"
        )
    return chosen


def _ranks(given: dict[str, Any]) -> "Ranks":
    hosts, rendezvous = given.pop("hosts"), given.pop("rendezvous")
    ranks = ranks_of(given["device"], given.pop("ranks"), (hosts, 0, rendezvous))
    if hosts > 1:
        check_free(rendezvous)
    return ranks


def _trusted(given: dict[str, Any], home: Path | None) -> dict[str, Any]:
    """What `NodeSettings` says of the machine of a trusted role and its home, out of what is left of the options."""
    folder, memory_gb = home_folder("update", home), given.pop("max_memory_gb")
    made = {
        "home": folder,
        "give_up_s": given.pop("give_up"),
        "max_memory_bytes": int(memory_gb * 2**30) if memory_gb else None,
        "environment": child_environment() | FEW_SHAPES | thread_environment(given["threads"]),
        "readable": (*readable_folders(folder), *given.pop("readable")),
    }
    return given | made


@command.command()
@click.option("--home", type=click.Path(path_type=Path), help="[~/.archipel/update]")
def key(home: Path | None) -> None:
    """Print this trusted role's did, making its key on first use.

    \b
    Example:
      archipel run open recipe.toml --weights DIR --trust $(archipel update key)
    """
    from archipel.cli.keys import name_of_key

    click.echo(name_of_key(home_folder("update", home) / "node.key", make=True))


@command.command()
@click.argument("name")
@click.option("--home", type=click.Path(path_type=Path), help="[~/.archipel/update]")
def secret(name: str, home: Path | None) -> None:
    """Make the secret NAME that a recipe asks for, with which this trusted role grades answers.

    It is random and stays on this machine, mode 0600. Several machines of one run need the same: copy it.

    \b
    Example:
      archipel update secret secret-order
    """
    from archipel.cli.doors import mending
    from archipel.node.secrets import make_secret

    with mending(OSError, ValueError):
        path = make_secret(home_folder("update", home) / "secrets", name)
    click.echo(f"secret {name} is in {path}")


@command.command()
@click.argument("recipe_name", metavar="RECIPE")
@click.option("--home", type=click.Path(path_type=Path), help="[~/.archipel/update]")
def approve(recipe_name: str, home: Path | None) -> None:
    """Let this machine's trusted role do runs of RECIPE (a TOML file, or the name of a shipped one).

    Read it first: it names the files, environments and secrets that the role will use. One that leaves
    open by which engine it is sampled is approved however whoever opens the run decides.

    \b
    Examples:
      archipel update approve secret-order
      archipel update approve from-a-colleague.toml
    """
    from archipel.cli.doors import mending
    from archipel.cli.recipes import find_any_recipe
    from archipel.node.approvals import approve as approve_digest

    recipe = find_any_recipe(recipe_name)
    with mending(OSError):
        for opening in recipe.openings:
            approve_digest(home_folder("update", home), opening.digest)
    click.echo(f"approved {recipe.run.name}, recipe {recipe.digest}")
