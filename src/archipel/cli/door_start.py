"""`archipel door start`: open a door over a model of this machine, until Ctrl-C."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.clock import clock_ms
from archipel.cli.door_folder import FOLDER, accounts_at
from archipel.cli.door_network import Network, network_hands
from archipel.cli.doors import LabUrl, Mendable, at_work, home_folder, mending, until_ctrl_c
from archipel.cli.last_deadline import last_deadline

if TYPE_CHECKING:
    import socket

    from archipel.door.accounts import Accounts
    from archipel.door.door import Door
    from archipel.door.hands import Hands
    from archipel.door.local.hands import LocalHands

LISTEN = "127.0.0.1:8460"
FIRST_TENANT = "owner"
PROGRESS_S = 2.0
INTERRUPTED = 130
DOOR_S = 60.0
"""For what is under way when the door is told to end; what is cut off is done again after the next start."""


@click.command("start")
@click.option(
    "--local",
    "model",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="MODEL",
    help="A model directory: adapters are trained over it, and sampled, in this process.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="What clients call the model; may be given several times [the directory's name].",
)
@click.option(
    "--tokenizer",
    metavar="ID",
    help="What clients load as its tokenizer: a directory of theirs, or a hub's id [the first name].",
)
@click.option(
    "--listen",
    default=LISTEN,
    show_default=True,
    metavar="HOST:PORT",
    help="Port 0 takes a free one.",
)
@click.option(
    "--lab",
    "lab_url",
    type=LabUrl(),
    metavar="URL",
    help="In place of --local: a lab whose nodes do the work.",
)
@click.option("--run", metavar="RUN", help="The door's run at that lab.")
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The door's own key, which that run names [door.key in the door's folder].",
)
@FOLDER
def start(
    model: Path | None,
    names: tuple[str, ...],
    tokenizer: str | None,
    listen: str,
    lab_url: str | None,
    run: str | None,
    key_file: Path | None,
    folder: Path | None,
) -> None:
    """Serve Tinker's training protocol over MODEL: existing clients train adapters here, and sample from them.

    Where the door has no keys yet, it makes one and prints it. What was acknowledged is on the disk: after Ctrl-C, a crash
    or a cut of power, start it again and clients go on.

    \b
    Examples:
      archipel door start --local trained
      archipel door start --local Qwen3-0.6B --name Qwen/Qwen3-0.6B --listen 127.0.0.1:8460
      archipel door start --lab http://lab.example:8440 --run open-door --key door.key
    """
    from importlib.util import find_spec

    from archipel.extras import needs
    from archipel.serve.server import listening

    if find_spec("google") is None or find_spec("google.protobuf") is None:
        raise Mendable(needs("a door", "door"))
    host, port = _address(listen)
    place = home_folder("door", folder)
    if lab_url is not None and run is not None and model is None:
        key_file = key_file or place / "door.key"
        network = Network(lab_url, run, key_file, names, tokenizer)
        shown = run

        def opening() -> "AbstractAsyncContextManager[Hands]":
            return network_hands(network, place / "network")
    elif model is not None and lab_url is None and run is None:
        base, known_as = model, names or (model.resolve().name,)
        shown = base.name

        def opening() -> "AbstractAsyncContextManager[Hands]":
            return _local(base, known_as, tokenizer)
    else:
        raise Mendable("whose work it is: give --local MODEL, or --lab URL and --run RUN")
    accounts = accounts_at(folder, make=True)
    with mending(OSError):
        listener = listening(host, port)
    try:
        key = _first_key(accounts)
        address = f"http://{host if ':' not in host else f'[{host}]'}:{listener.getsockname()[1]}"
        click.echo(f"{shown} at {address}; Ctrl-C ends it")
        if key is not None:
            click.echo(f"  export TINKER_BASE_URL={address} TINKER_API_KEY={key}")
        with until_ctrl_c():
            if asyncio.run(_open(opening, place, accounts, listener)):
                sys.stdout.flush()
                os._exit(INTERRUPTED)
            click.echo("stopped", err=True)
    finally:
        listener.close()
        accounts.close()


async def _open(
    opening: "Callable[[], AbstractAsyncContextManager[Hands]]",
    place: Path,
    accounts: "Accounts",
    listener: "socket.socket",
) -> bool:
    """Until it is told to end; whether it was told twice."""
    import sqlite3

    from archipel.door.door import Door
    from archipel.door.http.app import make_app
    from archipel.door.journal import JournalBroken
    from archipel.serve.server import Ending, serve

    async with opening() as hands:
        with mending(OSError, sqlite3.Error, JournalBroken):
            door = Door(hands, place, accounts)
            await door.start()
        watching = asyncio.create_task(_progress(door))
        try:
            ending = Ending(2.0, partial(click.echo, err=True), door.cut, last_deadline(DOOR_S))
            return await serve(make_app(door), listener, ending)
        finally:
            watching.cancel()
            await door.stop()


async def _progress(door: "Door") -> None:
    """A line whenever something was done, where somebody watches."""
    from archipel.door.http.metrics import numbers

    before: dict[str, int] = {}
    while sys.stderr.isatty():
        await asyncio.sleep(PROGRESS_S)
        now = numbers(door)
        if now["operations"] != before.get("operations") or now["samples"] != before.get("samples"):
            click.echo(
                f"{time.strftime('%H:%M:%S')}  {now['models_driven']} of {now['models_held']} models at work, "
                f"{now['operations']} operations in {now['turns']} turns, {now['samples']} samples, "
                f"{now['samples_running'] + now['samples_waiting']} to come",
                err=True,
            )
        before = now


@asynccontextmanager
async def _local(
    model: Path, names: tuple[str, ...], tokenizer: str | None
) -> "AsyncIterator[LocalHands]":
    from archipel.door.hands import CannotDo
    from archipel.door.local.fitting import Limits
    from archipel.door.local.opening import open_hands

    at_work(f"loading {model.name}")
    with mending(CannotDo):
        hands = open_hands(model, names, Limits(), tokenizer)
    try:
        yield hands
    finally:
        hands.close()


def _first_key(accounts: "Accounts") -> str | None:
    """A key for whoever opens a door that has none."""
    from archipel.door.keys import FIRST

    if accounts.keys.all():
        return None
    return accounts.keys.make(FIRST_TENANT, FIRST, clock_ms(), None)


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port[:6]) > 65_535:
        raise Mendable(f"--listen {listen}; expected HOST:PORT, as {LISTEN}")
    return host.strip("[]"), int(port)
