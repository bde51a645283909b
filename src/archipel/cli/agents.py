"""What `node join` and `update join` share: run an agent in this terminal until Ctrl-C."""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import LabUrl, Mendable, log_to, mending

if TYPE_CHECKING:
    from archipel.node.agent import Agent
    from archipel.node.settings import NodeSettings

PROGRESS_INTERVAL_S = 2.0
Command = Callable[..., None]


def agent_options(function: Command) -> Command:
    """What every agent's command takes: the lab, a home, threads, patience, metrics, quiet."""
    options = (
        click.argument("lab_url", type=LabUrl()),
        click.option(
            "--home",
            type=click.Path(path_type=Path),
            help="Keys, cache and logs [~/.archipel/...].",
        ),
        click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 1024)),
        click.option(
            "--give-up",
            type=float,
            metavar="SECONDS",
            help="End when the lab is away this long [never].",
        ),
        click.option(
            "--metrics-port", type=int, help="Serve Prometheus metrics on 127.0.0.1:PORT."
        ),
        click.option("--quiet", is_flag=True, help="No progress line."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def run_agent(settings: "NodeSettings", metrics_port: int | None, quiet: bool) -> None:
    """Join, work, show progress and totals, leave cleanly."""
    from archipel.blobs import BlobStore
    from archipel.identity import Identity, IdentityError
    from archipel.node.agent import Agent
    from archipel.node.patience import NodeFailed

    log_to(settings.home / "log.jsonl")
    with mending(IdentityError, OSError):
        identity = Identity.load_or_create(settings.home / "node.key")
        store = BlobStore(settings.home / "blobs")
    click.echo(f"node {identity.did} for {settings.lab_url}, home {settings.home}", err=True)
    agent = Agent(settings, identity, store)
    if metrics_port is not None:
        _serve_metrics(agent, metrics_port)
    try:
        asyncio.run(_until_stopped(agent, quiet))
    except NodeFailed as error:
        raise Mendable(str(error)) from None
    finally:
        click.echo(f"\n{agent.totals.line()}", err=True)


async def _until_stopped(agent: "Agent", quiet: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, agent.stop)
    progress = None if quiet else asyncio.create_task(_progress(agent))
    try:
        await agent.run()
    finally:
        if progress is not None:
            progress.cancel()


async def _progress(agent: "Agent") -> None:
    start = time.monotonic()
    while True:
        await asyncio.sleep(PROGRESS_INTERVAL_S)
        minutes, seconds = divmod(int(time.monotonic() - start), 60)
        click.echo(f"\r\033[K{minutes:02}:{seconds:02} {agent.totals.line()}", nl=False, err=True)


def _serve_metrics(agent: "Agent", port: int) -> None:
    from prometheus_client import CollectorRegistry, start_http_server

    from archipel.node.totals import TotalsCollector

    registry = CollectorRegistry()
    registry.register(TotalsCollector(agent.totals))  # type: ignore[arg-type]  # a collector by shape
    with mending(OSError):
        start_http_server(port, addr="127.0.0.1", registry=registry)
