"""A door of this machine: the socket that a server of ours listens on."""

import socket
from pathlib import Path

from archipel.cli.doors import Mendable


def listen(host: str, port: int) -> socket.socket:
    """A listener at an address; port 0 takes a free one.

    Raises:
        Mendable: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, not left to the system: asyncio turns Nagle's algorithm off only for sockets that say
    # TCP, and with it on every answer waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:
        listener.close()
        said = getattr(error, "strerror", None) or error
        raise Mendable(
            f"cannot listen on {host} port {port}: {said}; choose another --host or --port"
        ) from None
    listener.listen(1024)
    return listener


def publish_url(folder: Path, url: str) -> None:
    """Say in `folder/url` where the lab listens; a reader finds it whole or not at all."""
    partial = folder / "url.partial"
    partial.write_text(url, "utf-8")
    partial.replace(folder / "url")
