"""`archipel dashboard`: the pages of somebody's lab, cut from a ledger that is read, checked and followed here."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.chronicling import as_told
from archipel.cli.doors import LabUrl, Mendable, at_work, mending, until_ctrl_c
from archipel.cli.lab_door import EXPECT
from archipel.cli.lab_pages import RELEASES, routes, shelf_of
from archipel.cli.listening import listen
from archipel.cli.replicas import replica_at
from archipel.cli.telling import seldom
from archipel.plurals import counted

if TYPE_CHECKING:
    import socket

    from starlette.applications import Starlette
    from starlette.routing import BaseRoute

    from archipel.lab.replica import Replica
    from archipel.lab.retelling import Retold

DEFAULT_PORT = 8441
PER_ADDRESS = 256
"""Connections of one network address."""
GRACEFUL_S = 2


@click.command()
@click.option(
    "--lab", "url", metavar="URL", type=LabUrl(), help="A lab that runs, or a mirror of one."
)
@click.option(
    "--ledger", metavar="PLACE", help="A mirror's folder, a ledger file, or postgresql://..."
)
@EXPECT
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)  # fmt: skip
@RELEASES
def command(
    url: str | None, ledger: str | None, expect: str | None, host: str, port: int, releases: Path | None
) -> None:  # fmt: skip
    """Serve the pages of a lab from a copy of its ledger, all of it checked here, and follow it until Ctrl-C.

    They are the pages that the lab shows, and believe it nothing: every signature and every step is verified before it is
    shown, and a ledger that forks or goes back stops them with a sentence. What only a running lab knows is left out.

    \b
    Examples:
      archipel dashboard --lab https://lab.example
      archipel dashboard --ledger lab-ledger --port 8441
      archipel dashboard --ledger postgresql://reader@db/lab --host 0.0.0.0
    """
    import tempfile

    from archipel.dashboard.chronicle.file import ChronicleUnusable
    from archipel.identity import IdentityError
    from archipel.lab.apply import Contradiction
    from archipel.ledger.storage import LedgerError
    from archipel.node.address import in_brackets

    if (url is None) == (ledger is None):
        raise click.UsageError("give one of --lab and --ledger")
    with tempfile.TemporaryDirectory(prefix="archipel-dashboard-") as aside:
        chronicle = Path(aside) / "chronicle.sqlite"
        told = _Telling(chronicle)
        with (
            mending(
                IdentityError, LedgerError, OSError, ValueError, Contradiction, ChronicleUnusable
            ),
            replica_at(url, ledger, expect, told) as replica,
            shelf_of(releases) as shelf,
        ):
            told.lab = replica.lab
            at_work("reading and checking the ledger")
            replica.grow()
            listener = listen(host, port)
            shown = f"http://{in_brackets(host)}:{listener.getsockname()[1]}"
            size = counted(replica.look().size, "entry", "entries")
            click.echo(
                f"pages of {replica.lab}, {size}, at {shown}/pages/; Ctrl-C ends it", err=True
            )
            with until_ctrl_c():
                _serve(_app(replica, routes(replica, chronicle, shelf)), listener)
            if replica.problem is not None:
                raise Mendable(replica.problem)


class _Telling:
    """The replica's chronicle, told some entries at a time by whichever thread has them; says how far it is."""

    def __init__(self, chronicle: Path) -> None:
        self._chronicle = chronicle
        self.lab = ""
        self._tell = seldom()

    def __call__(self, batch: "Sequence[Retold]") -> None:
        from archipel.dashboard.chronicle.file import ChronicleUnusable
        from archipel.dashboard.chronicle.writing import ChronicleWriter

        try:
            with ChronicleWriter(self._chronicle, self.lab) as writer:
                writer.take([as_told(each) for each in batch])
        except ChronicleUnusable as error:  # a full disk, say: the replica goes on when it can
            raise OSError(str(error)) from None
        if len(batch) > 1:
            self._tell(f"{batch[-1].number + 1} entries")


def _app(replica: "Replica", shown: "list[BaseRoute]") -> "Starlette":
    """The pages, and the replica that follows its ledger as long as they are served."""
    from contextlib import asynccontextmanager

    from starlette.applications import Starlette

    from archipel.lab.background import background

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with background(replica.follow(), lambda error: None):
            yield
            replica.close()

    return Starlette(routes=shown, lifespan=lifespan)


def _serve(app: "Starlette", listener: "socket.socket") -> None:
    """Until Ctrl-C."""
    import uvicorn

    from archipel.cli.last_deadline import PAGES_S, last_deadline
    from archipel.connections import Connections, Server, guarded, room_for_connections

    in_all, at_once = room_for_connections()
    connections = Connections(min(PER_ADDRESS, in_all // 2), in_all)
    config = uvicorn.Config(
        app,
        http=guarded(connections),
        log_level="warning",
        access_log=False,
        lifespan="on",
        backlog=at_once,
        timeout_graceful_shutdown=GRACEFUL_S,
    )
    server = Server(config)
    server.when_told = last_deadline(PAGES_S)
    server.run(sockets=[listener])
