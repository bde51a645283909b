"""`archipel node start`: offer this machine to several labs at once."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.agents import PRESENTED
from archipel.cli.doors import LabUrl, Mendable, log_to, mending
from archipel.cli.last_deadline import NODE_S, last_deadline
from archipel.cli.node_asks import asking_options
from archipel.cli.node_machine import machine_of, machine_options

if TYPE_CHECKING:
    from archipel.cli.screen import Screen
    from archipel.node.several import Several


@click.command()
@click.option(
    "--lab",
    "lab_urls",
    multiple=True,
    type=LabUrl(),
    metavar="URL",
    help="A lab to serve, beside those of HOME/labs.toml; several addresses of one lab with commas; may be given "
    "several times.",
)
@click.option(
    "--home", type=click.Path(path_type=Path), help="Keys, labs.toml and logs [~/.archipel/node]."
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="Processor threads of the work processes, of which one works at a time.",
)
@click.option("--quiet", is_flag=True, help="Show nothing; the log stays.")
@PRESENTED[0]
@PRESENTED[1]
@machine_options
@asking_options
def start(
    lab_urls: tuple[str, ...],
    home: Path | None,
    threads: int,
    quiet: bool,
    delegation: Path | None,
    invitation: Path | None,
    **given: Any,
) -> None:
    """Serve several labs until Ctrl-C (twice: give the work back at once).

    Each lab has a folder, a work process and a part of memory and disk of its own. The machine works for one at a time;
    HOME/labs.toml says what each weighs. Pledges (archipel node pledge) go first.

    \b
    Examples:
      archipel node start --lab https://one.example --lab https://two.example
      archipel node start --lab https://a.example,https://b.example --lab http://127.0.0.1:8440
      archipel node start
    """
    from archipel.cli.keys import load_or_make_key
    from archipel.node.labs_file import BadLabs, read_labs
    from archipel.node.patience import NodeFailed
    from archipel.node.settings import NodeSettings
    from archipel.node.several import Several
    from archipel.node.small_files import Unreadable

    settings = NodeSettings(
        lab_url="",
        delegation=delegation,
        invitation=invitation,
        **machine_of(given, home, threads, quiet),
    )
    folder = settings.home
    with mending(OSError, Unreadable, BadLabs, NodeFailed):
        log_to(folder / "log.jsonl")
        labs = read_labs(folder, lab_urls)
        identity = load_or_make_key(folder / "node.key")
        node = Several(labs, settings, identity)
    told = ", ".join(node.agents)
    click.echo(f"node {identity.did} for {told}, home {folder}", err=True)
    try:
        asyncio.run(_until_stopped(node, _screen(node, quiet)))
    except NodeFailed as error:
        raise Mendable(str(error)) from None


def _screen(node: "Several", quiet: bool) -> "Screen":
    from archipel.cli.agents import can_redraw
    from archipel.cli.screen import Screen

    return Screen(node.agents, None if quiet else sys.stderr, can_redraw())


async def _until_stopped(node: "Several", screen: "Screen") -> None:
    from archipel.cli.agents import show_on
    from archipel.node.bidding import Bidding

    loop, is_to_end = asyncio.get_running_loop(), last_deadline(NODE_S)

    def stop(presses: int) -> None:
        for _ in range(presses):
            node.stop()
        if any(each.standing.hurrying for each in node.agents.values()):
            is_to_end()
        screen.stopping()

    loop.add_signal_handler(signal.SIGINT, stop, 1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop, 2)
    beside = [asyncio.create_task(show_on(screen))]
    for agent in node.agents.values():
        if agent.settings.asking.bids:
            bidding = Bidding(agent.client, agent.standing, agent.totals, agent.settings)
            beside.append(asyncio.create_task(bidding.go_on()))
    try:
        await node.run()
    finally:
        for task in beside:
            task.cancel()
        screen.end()
