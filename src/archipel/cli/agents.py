"""What `node join` and `update join` share: run an agent in this terminal until Ctrl-C."""

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import KeyName, LabUrl, Mendable, mending, named_labs
from archipel.cli.grouped import together
from archipel.cli.last_deadline import NODE_S, last_deadline
from archipel.cli.logs import log_to

if TYPE_CHECKING:
    from archipel.cli.screen import Screen
    from archipel.node.agent import Agent
    from archipel.node.settings import NodeSettings

REDRAW_S = 1.0

PRESENTED = (
    click.option(
        "--delegation",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        metavar="FILE",
        help="Whose node this is, in its operator's words [HOME/delegation.json, if it is there].",
    ),
    click.option(
        "--invitation",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        metavar="FILE",
        help="The lab's invitation [HOME/invitation.json, if it is there].",
    ),
)
"""What a node shows that others signed."""
METRICS = click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    help="Serve Prometheus metrics on 127.0.0.1:PORT.",
)


def _named_lab() -> str | None:
    """The key by which the lab was named instead of an address."""
    return next(iter(named_labs().values()), None)


agent_options = together(
    click.argument("lab_url", type=LabUrl()),
    click.option(
        "--home",
        type=click.Path(path_type=Path),
        help="Keys, cache and logs [~/.archipel/...].",
    ),
    click.option(
        "--threads",
        default=1,
        show_default=True,
        type=click.IntRange(1, 1024),
        help="Processor threads of the work process.",
    ),
    click.option(
        "--give-up",
        type=float,
        metavar="SECONDS",
        help="End when the lab is away this long [never].",
    ),
    METRICS,
    click.option(
        "--lab-key",
        type=KeyName(),
        metavar="DID",
        default=_named_lab,
        help="The key that the lab must have [the one by which it was named, or that it had when it was first joined].",
    ),
    *PRESENTED,
    click.option("--quiet", is_flag=True, help="Show nothing; the log stays."),
)
"""What every agent's command takes: the lab, a home, threads, patience, metrics, quiet."""


def run_agent(settings: "NodeSettings", metrics_port: int | None, quiet: bool) -> None:
    """Join, work, show how it stands, leave cleanly."""
    from dataclasses import replace

    from archipel.blobs import BlobStore
    from archipel.cli.keys import load_or_make_key
    from archipel.cli.ledger_continued import why_not_continued
    from archipel.cli.screen import Screen
    from archipel.node.agent import Agent
    from archipel.node.patience import NodeFailed
    from archipel.node.small_files import Unreadable
    from archipel.node.totals import TotalsCollector

    with mending(OSError, Unreadable):
        log_to(settings.home / "log.jsonl")
        identity = load_or_make_key(settings.home / "node.key")
        store = BlobStore(settings.home / "blobs", is_lasting=False)
        agent = Agent(replace(settings, judge=why_not_continued), identity, store)
    click.echo(f"node {identity.did} for {settings.lab_url}, home {settings.home}", err=True)
    if metrics_port is not None:
        serve_metrics(TotalsCollector(agent.totals), metrics_port)
    screen = Screen(agent, None if quiet else sys.stderr, can_redraw())
    try:
        asyncio.run(_until_stopped(agent, screen))
    except NodeFailed as error:
        raise Mendable(str(error)) from None
    finally:
        screen.end()


def can_redraw() -> bool:
    """Whether standard error is a terminal whose line can be written over."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return is_terminal and os.environ.get("TERM", "dumb") != "dumb"


async def _until_stopped(agent: "Agent", screen: "Screen") -> None:
    """Ctrl-C once finishes the lease, twice gives it back; whoever ends us otherwise has no patience."""
    from archipel.node.bidding import Bidding
    from archipel.node.guard import Guard

    loop, is_to_end = asyncio.get_running_loop(), last_deadline(NODE_S)

    def stop(presses: int) -> None:
        for _ in range(presses):
            agent.stop()
        if agent.standing.hurrying:
            is_to_end()
        screen.stopping()

    loop.add_signal_handler(signal.SIGINT, stop, 1)
    for number in (signal.SIGTERM, signal.SIGHUP):  # a shutdown, a closed terminal
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            loop.add_signal_handler(number, stop, 2)
    beside = [asyncio.create_task(show_on(screen))]
    if agent.settings.trusted:
        guard = Guard(agent.client, agent.standing, agent.settings.home)
        beside.append(asyncio.create_task(guard.watch()))
    elif agent.settings.asking.bids:
        bidding = Bidding(agent.client, agent.standing, agent.totals, agent.settings)
        beside.append(asyncio.create_task(bidding.go_on()))
    try:
        async with AsyncExitStack() as doors:
            if agent.errands.door is not None:
                with mending(OSError):
                    await doors.enter_async_context(agent.errands.door.open())
            await agent.run()
    finally:
        for task in beside:
            task.cancel()


async def show_on(screen: "Screen") -> None:
    """Until cancelled."""
    while True:
        screen.tick()
        await asyncio.sleep(REDRAW_S)


def serve_metrics(collector: Any, port: int) -> None:
    """collector: by its shape. Raises Mendable: the port is taken."""
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(collector)
    try:
        start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise Mendable(
            f"cannot listen on 127.0.0.1 port {port}: {error.strerror or error}; choose another --metrics-port"
        ) from None
