"""An end to every request: a server that goes on without an answer's ever being whole is left when the time is over.

Waiting for bytes has a limit, but heads, interim answers, extensions of chunks and trailers may come byte by byte for
ever. Law: when a request's time is over, the connections that it may be on are shut, and whoever reads there is told.
"""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

MAX_CONNECTIONS = 64
"""The newest of one client: more it never has open."""
_MADE = ("connection.connect_tcp.complete", "connection.start_tls.complete")


class Ending:
    """Of the requests of one client, one after the other."""

    def __init__(self) -> None:
        self._open = deque[socket.socket](maxlen=MAX_CONNECTIONS)

    def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """What httpcore says of a connection: the extension `trace` of a request."""
        stream = info.get("return_value") if name in _MADE else None
        made = None if stream is None else stream.get_extra_info("socket")
        if made is not None:
            self._open.append(made)

    @contextlib.contextmanager
    def within(self, limit_s: float) -> Iterator[threading.Event]:
        """What lasts longer has its connections shut, and the event is set."""
        is_over = threading.Event()

        def end() -> None:
            is_over.set()
            for each in list(self._open):
                with contextlib.suppress(OSError):  # closed, or shut by the other side
                    socket.socket.shutdown(
                        each, socket.SHUT_RDWR
                    )  # beneath any TLS: it is being read there

        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()
        try:
            yield is_over
        finally:
            timer.cancel()
            timer.join()
