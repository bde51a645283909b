"""`archipel node`: offer this machine to a lab."""

from pathlib import Path
from typing import Any

import click

from archipel.cli.agents import agent_options
from archipel.cli.helping import Group
from archipel.cli.node_asks import asking_options
from archipel.cli.node_audits import contest, disputes, reputation
from archipel.cli.node_key import key
from archipel.cli.node_machine import machine_of, machine_options
from archipel.cli.node_pledge import pledge, pledges, withdraw_pledge
from archipel.cli.node_service import service
from archipel.cli.node_sharing import sharing_of, sharing_options
from archipel.cli.node_stake import decoy, stake
from archipel.cli.node_start import start
from archipel.cli.node_status import status


@click.group(cls=Group)
def command() -> None:
    """Offer this machine to a lab."""


for each in (start, status, key, service, reputation, disputes, contest, stake, decoy):
    command.add_command(each)
for each in (pledge, pledges, withdraw_pledge):
    command.add_command(each)


@command.command()
@agent_options
@machine_options
@sharing_options
@asking_options
def join(
    lab_url: str,
    home: Path | None,
    threads: int,
    give_up: float | None,
    metrics_port: int | None,
    lab_key: str | None,
    delegation: Path | None,
    invitation: Path | None,
    quiet: bool,
    **given: Any,
) -> None:
    """Join LAB_URL and work until Ctrl-C (twice: give the work back at once).

    \b
    Examples:
      archipel node join http://lab.example:8440
      archipel node join did:key:z6Mk... --duty 0.5 --threads 4
      archipel node join http://lab.example:8440 --only-at 22:00-07:00 --not-on-battery
      archipel node join http://lab.example:8440 --energy-price 0.28 --region eu-north
      archipel node join http://lab.example:8440 --engine vllm
      archipel node join http://lab.example:8440 --device cuda --engines 4
      archipel node join http://lab.example:8440 --engine vllm --device cuda --devices-per-engine 4
      archipel node join http://lab.example:8440 --serve-blobs 203.0.113.5:8441 --serve-mbit 100
    """
    from archipel.cli.agents import run_agent
    from archipel.node.settings import NodeSettings

    settings = NodeSettings(
        lab_url=lab_url,
        lab_key=lab_key,
        delegation=delegation,
        invitation=invitation,
        give_up_s=give_up,
        **sharing_of(given),
        **machine_of(given, home, threads, quiet),
    )
    run_agent(settings, metrics_port, quiet)
