"""`archipel update`: the trusted role, which learns and evaluates."""

from pathlib import Path

import click

from archipel.cli.agents import agent_options
from archipel.cli.doors import child_environment, home_folder, thread_environment


@click.group()
def command() -> None:
    """Run the trusted role of a run."""


@command.command()
@agent_options
@click.option(
    "--ranks",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Processes that share each update (torchrun + FSDP2).",
)
@click.option(
    "--kinds", default="update,evaluate", show_default=True, help="Which trusted work to take."
)
@click.option(
    "--secrets", type=click.Path(path_type=Path), help="Folder of secrets [HOME/secrets]."
)
def join(
    lab_url: str,
    home: Path | None,
    threads: int,
    ranks: int,
    kinds: str,
    secrets: Path | None,
    give_up: float | None,
    metrics_port: int | None,
    quiet: bool,
) -> None:
    """Join LAB_URL as the trusted role; its key must be named when the run is opened.

    \b
    Examples:
      archipel update key                      this machine's did, for `run open --trust`
      archipel update join http://127.0.0.1:8440
      archipel update join http://lab.example:8440 --kinds evaluate
      archipel update join http://lab.example:8440 --ranks 2
    """
    from archipel.cli.agents import run_agent
    from archipel.node.settings import NodeSettings

    chosen = tuple(kind.strip() for kind in kinds.split(","))
    if not set(chosen) <= {"update", "evaluate"}:
        raise click.BadParameter(
            f"{kinds!r}: expected update, evaluate or both", param_hint="--kinds"
        )
    settings = NodeSettings(
        lab_url=lab_url,
        home=home_folder("update", home),
        kinds=chosen,  # type: ignore[arg-type]  # checked above
        threads=threads,
        ranks=ranks,
        give_up_s=give_up,
        secrets=secrets,
        environment=child_environment() | thread_environment(threads),
    )
    run_agent(settings, metrics_port, quiet)


@command.command()
@click.option("--home", type=click.Path(path_type=Path), help="[~/.archipel/update]")
def key(home: Path | None) -> None:
    """Print this trusted role's did, making its key on first use.

    \b
    Example:
      archipel run open recipe.toml --weights DIR --trust $(archipel update key)
    """
    from archipel.cli.doors import mending
    from archipel.identity import Identity, IdentityError

    with mending(IdentityError, OSError):
        click.echo(Identity.load_or_create(home_folder("update", home) / "node.key").did)
