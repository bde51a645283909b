"""The server around the door: a bound socket, bounded connections, an end that lets nobody wait.

What a stranger's connection may take is bounded by uvicorn: its head by size, idle connections by time.
"""

import socket

import uvicorn
from starlette.applications import Starlette

KEEP_ALIVE_S = 75
GRACEFUL_S = 3
MAX_CONNECTIONS = 1024
QUEUE = 128


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        OSError: it is taken, or no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(QUEUE)
    except OSError:
        listener.close()
        raise
    return listener


async def serve(door: Starlette, listener: socket.socket) -> None:
    """Until the process is told to end."""
    config = uvicorn.Config(
        door,
        log_level="warning",
        access_log=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACEFUL_S,
    )
    await uvicorn.Server(config).serve([listener])
