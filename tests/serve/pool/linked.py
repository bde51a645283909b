"""Two devices that know each other, and a port of this machine where one of them listens."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from archipel.serve.pool.credentials import Credentials, own_credentials


def device(folder: Path, name: str) -> Credentials:
    return own_credentials(folder / name)


@contextmanager
def port_of(answer: Callable[[socket.socket], object]) -> Iterator[tuple[str, int]]:
    """An address whose every caller `answer` is given; what it raises is its own affair."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connected, _ = listening.accept()
                    threads.append(threading.Thread(target=one, args=(connected,), daemon=True))
                    threads[-1].start()

        def one(connected: socket.socket) -> None:
            with connected, suppress(ConnectionError, ValueError):
                answer(connected)

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[0].start()
        try:
            yield listening.getsockname()[:2]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for each in threads:
                each.join(10)
