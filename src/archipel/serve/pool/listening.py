"""A port where the devices of a pool meet: who is paired gets a link, who shows no certificate may pair.

Law: whoever is slow, silent or a stranger holds up nobody: every caller shakes hands in a thread of its own, at most
MAX_STRANGERS at once, of whom the oldest goes when another comes; what is revoked loses its links within a second.
"""

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from archipel.serve.pool.credentials import Credentials
from archipel.serve.pool.links import LinkLost, SocketLink
from archipel.serve.pool.paired import BadPairing
from archipel.serve.pool.tls import accept

MAX_STRANGERS = 64
MAX_LINKS = 1024
_LOOK_S = 0.5
"""How often the list of paired devices is looked at."""

Meet = Callable[[SocketLink], None]


class Listener:
    """A port of this device; `close` lets go of it and of every link."""

    def __init__(
        self,
        address: tuple[str, int],
        own: Credentials,
        known: Callable[[], Sequence[bytes]],
        meet: Meet,
        pair: Meet,
    ) -> None:
        """`known`: certificates (DER) of paired devices, now. `meet` is called with the link of each in a thread of
        its own, `pair` with that of who showed no certificate; what they raise but LinkLost ends that thread aloud.

        Raises:
            OSError: the port is taken.
        """
        self._own, self._known, self._meet, self._pair = own, known, meet, pair
        self._socket = socket.create_server(address, backlog=128)
        self._socket.settimeout(_LOOK_S)
        self._lock = threading.Lock()
        self._strangers: list[socket.socket] = []
        self._links: list[SocketLink] = []
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="pool port", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Let go of everything; who is being met gets a LinkLost."""
        self._closed.set()
        _hang_up(self._socket)  # wakes who accepts
        self._thread.join(10 * _LOOK_S)
        self._socket.close()
        with self._lock:
            links, strangers = list(self._links), list(self._strangers)
        for link in links:
            link.close()
        for each in strangers:
            _hang_up(each)

    def _listen(self) -> None:
        while not self._closed.is_set():
            self._forget_revoked()
            try:
                connected, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:  # out of descriptors, or the caller is gone already
                self._closed.wait(_LOOK_S)
                continue
            handle = connected.dup()  # TLS takes the other one away
            with self._lock:
                self._strangers.append(handle)
                if len(self._strangers) > MAX_STRANGERS:
                    _hang_up(self._strangers.pop(0))
            threading.Thread(target=self._enter, args=(connected, handle), daemon=True).start()

    def _enter(self, connected: socket.socket, handle: socket.socket) -> None:
        """One caller, to its end."""
        link: SocketLink | None = None
        try:
            link = accept(connected, self._own, self._known())
            if not link.certificate:
                self._pair(link)
                return
            with self._lock:
                if handle in self._strangers:
                    self._strangers.remove(handle)
                if self._closed.is_set() or len(self._links) >= MAX_LINKS:
                    return
                self._links.append(link)
            self._meet(link)
        except LinkLost:
            return
        finally:
            (link or connected).close()
            with self._lock:
                if handle in self._strangers:
                    self._strangers.remove(handle)
                if link in self._links:
                    self._links.remove(link)
            handle.close()

    def _forget_revoked(self) -> None:
        try:
            known = set(self._known())
        except (OSError, BadPairing):  # whoever calls next hears of it
            return
        with self._lock:
            gone = [each for each in self._links if each.certificate not in known]
        for link in gone:
            link.close()


def _hang_up(connected: socket.socket) -> None:
    """Whoever waits there sees that it is over."""
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)
