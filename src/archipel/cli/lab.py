"""`archipel lab`: be the coordinator."""

from pathlib import Path
from typing import Any

import click

from archipel.cli.doors import Mendable, home_folder, log_to, mending

DEFAULT_PORT = 8440


@click.group()
def command() -> None:
    """Run a lab."""


@command.command()
@click.option(
    "--home", type=click.Path(path_type=Path), help="Keys, ledger and blobs [~/.archipel/lab]."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; 0.0.0.0 lets others in.",
)
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535))
@click.option("--ledger", metavar="URL", help="postgresql://... or a file [HOME/ledger.sqlite].")
@click.option(
    "--operator",
    "operators",
    multiple=True,
    metavar="DID",
    help="Key that may open runs, besides HOME/operator.key.",
)
@click.option("--max-store-gb", default=512.0, show_default=True, help="Quota of the blob store.")
@click.option(
    "--log-file", type=click.Path(path_type=Path), help="Structured log [standard error]."
)
def start(
    home: Path | None,
    host: str,
    port: int,
    ledger: str | None,
    operators: tuple[str, ...],
    max_store_gb: float,
    log_file: Path | None,
) -> None:
    """Start a lab, or continue one where its ledger ends.

    \b
    Examples:
      archipel lab start
      archipel lab start --host 0.0.0.0 --port 8440
      archipel lab start --ledger postgresql://lab@localhost/lab
    """
    import time

    import uvicorn

    from archipel.blobs import BlobStore
    from archipel.identity import Identity, IdentityError
    from archipel.lab.api import make_api
    from archipel.lab.lab import Lab
    from archipel.ledger.location import open_log
    from archipel.ledger.storage import LedgerError

    folder = home_folder("lab", home)
    log_to(log_file)
    with mending(IdentityError, LedgerError, OSError):
        identity = Identity.load_or_create(folder / "lab.key")
        operator = Identity.load_or_create(folder / "operator.key")
        origin = f"archipel.lab/{identity.did.rsplit(':', 1)[-1]}"
        log = open_log(ledger or folder / "ledger.sqlite", origin, identity)
        store = BlobStore(folder / "blobs", quota_bytes=int(max_store_gb * 2**30))
        lab = Lab(identity, log, store, clock_ms=lambda: time.time_ns() // 1_000_000)
        lab.found([operator.did, *operators])
    listener = _listen(host, port)
    shown = f"http://{host}:{listener.getsockname()[1]}"
    click.echo(
        f"lab {identity.did} at {shown}, ledger of {log.size} entries, home {folder}", err=True
    )
    publish_url(folder, shown)

    class Server(uvicorn.Server):
        """Lets waiting nodes go as soon as the end is asked for."""

        async def shutdown(self, sockets: Any = None) -> None:
            lab.close()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        make_api(lab),
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=2,
    )
    try:
        Server(config).run(sockets=[listener])
    finally:
        log.close()


def publish_url(folder: Path, url: str) -> None:
    """Say in `folder/url` where the lab listens; a reader finds it whole or not at all."""
    partial = folder / "url.partial"
    partial.write_text(url)
    partial.replace(folder / "url")


def _listen(host: str, port: int):  # type: ignore[no-untyped-def]  # a socket; its import is local
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, not left to the system: asyncio turns Nagle's algorithm off only for sockets that say
    # TCP, and with it on every answer waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise Mendable(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
        ) from None
    listener.listen(1024)
    return listener
