"""`archipel node start`: offer this machine to several labs at once."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.agents import METRICS, PRESENTED, REDRAW_S
from archipel.cli.doors import LabUrl, Mendable, log_to, mending, named_labs
from archipel.cli.last_deadline import NODE_S, last_deadline
from archipel.cli.node_asks import asking_options
from archipel.cli.node_machine import machine_of, machine_options
from archipel.cli.node_sharing import sharing_of, sharing_options

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
@METRICS
@PRESENTED[0]
@PRESENTED[1]
@machine_options
@sharing_options
@asking_options
def start(
    lab_urls: tuple[str, ...],
    home: Path | None,
    threads: int,
    quiet: bool,
    metrics_port: int | None,
    delegation: Path | None,
    invitation: Path | None,
    **given: Any,
) -> None:
    """Serve several labs until Ctrl-C (twice: give the work back at once).

    Each lab has a folder, a work process and a part of memory and disk of its own. The machine works for one at a time;
    HOME/labs.toml says what each weighs, and is read again when it changes. Pledges (archipel node pledge) go first.
    Doors at a port (--serve-blobs HOST:PORT) are one for each lab, at that port and those after it.

    \b
    Examples:
      archipel node start --lab https://one.example --lab https://two.example
      archipel node start --lab https://a.example,https://b.example --lab http://127.0.0.1:8440
      archipel node start --lab https://one.example --serve-blobs 203.0.113.5:8441 --metrics-port 9400
      archipel node start
    """
    from archipel.cli.agents import serve_metrics
    from archipel.cli.keys import load_or_make_key
    from archipel.cli.ledger_continued import why_not_continued
    from archipel.node.figures import SeveralCollector
    from archipel.node.labs_file import MAX_LABS, BadLabs
    from archipel.node.labs_watch import LabsWatch
    from archipel.node.patience import NodeFailed
    from archipel.node.settings import NodeSettings
    from archipel.node.several import Several
    from archipel.node.small_files import Unreadable

    sharing, last_port = sharing_of(given), 65_536 - MAX_LABS
    if (sharing["serve_blobs"] or ("", 0))[1] > last_port:
        raise click.BadParameter(
            f"doors of {MAX_LABS} labs need as many ports; the first is {last_port} at most",
            param_hint="--serve-blobs",
        )
    settings = NodeSettings(
        lab_url="",
        delegation=delegation,
        invitation=invitation,
        judge=why_not_continued,
        **sharing,
        **machine_of(given, home, threads, quiet),
    )
    folder = settings.home
    with mending(OSError, Unreadable, BadLabs, NodeFailed):
        log_to(folder / "log.jsonl")
        watch = LabsWatch(folder, lab_urls, named_labs())
        identity = load_or_make_key(folder / "node.key")
        node = Several(watch.labs, settings, identity, watch.look)
    told = ", ".join(node.agents)
    click.echo(f"node {identity.did} for {told}, home {folder}", err=True)
    if metrics_port is not None:
        serve_metrics(SeveralCollector(node), metrics_port)
    try:
        asyncio.run(_until_stopped(node, _screen(node, quiet)))
    except NodeFailed as error:
        raise Mendable(str(error)) from None


def _screen(node: "Several", quiet: bool) -> "Screen":
    from archipel.cli.agents import can_redraw
    from archipel.cli.screen import Screen

    return Screen(node.agents, None if quiet else sys.stderr, can_redraw())


async def _until_stopped(node: "Several", screen: "Screen") -> None:
    loop, is_to_end = asyncio.get_running_loop(), last_deadline(NODE_S)

    def stop(presses: int) -> None:
        for _ in range(presses):
            node.stop()
        if node.presses > 1:  # an agent alone may be in a hurry: its lab was taken out of the file
            is_to_end()
        screen.stopping()

    loop.add_signal_handler(signal.SIGINT, stop, 1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop, 2)
    showing = asyncio.create_task(_show(node, screen))
    try:
        await node.run()
    finally:
        showing.cancel()
        _say_news(node, screen)
        screen.end()


async def _show(node: "Several", screen: "Screen") -> None:
    """Until cancelled."""
    while True:
        _say_news(node, screen)
        screen.tick()
        await asyncio.sleep(REDRAW_S)


def _say_news(node: "Several", screen: "Screen") -> None:
    while node.news:
        screen.say(node.news.popleft())
