"""What the HTTP servers of this project share: an end to connections that say nothing or take nothing.

Law: strangers cannot use up file descriptors: connections are bounded per address and in all, and a
request whose head is not here in time is cut, as is who takes nothing of an answer. A body's deadline is the
route's.
"""

import asyncio
import logging
import resource
import time
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Network, ip_address
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT_S = 20.0
"""A connection's first word, and the rest of a half-sent head, come within this."""
MAX_HEAD_BYTES = 65_536
"""Of a head, with whatever else came since the last part of a body."""
STALL_S = 120.0
"""An answer's next part, some hundred kilobytes, is taken within this: it may hold a file open."""
SPARE_DESCRIPTORS = 256
"""For whatever else a server opens; half of what a process may have, if that is less."""
MAX_TAKEN_AT_ONCE = 32
"""Of a queue of connections in one turn of the event loop; some turns pass until one that is refused is closed, and
asyncio writes a traceback for each that finds no descriptor."""
NO_DESCRIPTOR = "socket.accept() out of system resource"
"""How asyncio begins to say so."""
SENTENCE_S = 60.0


@lru_cache(4096)
def neighbourhood(host: str) -> str:
    """Whom an address stands for: whoever has one IPv6 address has the 2^64 beside it as well."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address) >> 64 << 64, 64)))


class Connections:
    """Who is connected, and how many may be."""

    def __init__(self, per_address: int, in_all: int) -> None:
        self._per_address = per_address
        self._in_all = in_all
        self._open: Counter[str] = Counter()

    def admit(self, address: str) -> bool:
        """One more from this address, if there is room."""
        if self._open.total() >= self._in_all or self._open[address] >= self._per_address:
            return False
        self._open[address] += 1
        return True

    def leave(self, address: str) -> None:
        """One less."""
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]


class Guarded(HttpToolsProtocol):  # type: ignore[misc]  # uvicorn has no types here
    """HTTP/1.1 with bounds on every request's head; `guarded` says whose connections count.

    The parser is in C and keeps what it is sent until a head, a trailer or a chunk's extension is whole,
    however long it is; `unfinished_bytes` bounds that.
    """

    allowed = Connections(0, 0)
    address = ""
    watch: asyncio.TimerHandle | None = None
    stalled: asyncio.TimerHandle | None = None
    unfinished_bytes = 0
    """Received since a head was whole or a part of a body came."""

    def connection_made(self, transport: Any) -> None:
        """Let in, if there is room."""
        peer = transport.get_extra_info("peername")
        address = neighbourhood(str(peer[0])) if peer else "local"
        super().connection_made(transport)
        if not self.allowed.admit(address):
            transport.abort()
            return
        self.address = address
        self.guard()

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts no more."""
        if self.address:
            self.allowed.leave(self.address)
            self.address = ""
        self.relax()
        self.go_on()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Watch a head until it is here whole."""
        self.unfinished_bytes += len(data)
        super().data_received(data)
        if self.is_answering():
            self.relax()
        else:
            self.guard()
        if self.unfinished_bytes > MAX_HEAD_BYTES:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self.unfinished_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body came."""
        self.unfinished_bytes = 0
        super().on_body(body)

    def pause_writing(self) -> None:
        """The other side does not take what is there for it."""
        super().pause_writing()
        self.go_on()
        self.stalled = self.loop.call_later(STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It took it."""
        self.go_on()
        super().resume_writing()

    def go_on(self) -> None:
        """Stop that clock."""
        if self.stalled is not None:
            self.stalled.cancel()
            self.stalled = None

    def is_answering(self) -> bool:
        """A request's head is here whole, and its answer is not finished."""
        return self.cycle is not None and not self.cycle.response_complete

    def guard(self) -> None:
        """Start the clock, if it does not run."""
        if self.watch is None:
            self.watch = self.loop.call_later(HEAD_LIMIT_S, self.cut)

    def relax(self) -> None:
        """Stop the clock."""
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None

    def cut(self) -> None:
        """Time is up."""
        self.watch = None
        if not self.is_answering() and not self.transport.is_closing():
            self.transport.close()


class OneSentence(logging.Filter):
    """Of what asyncio logs, with a traceback for each caller, where no descriptor is left to let one in."""

    def __init__(self) -> None:
        super().__init__()
        self._next_s = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged: that one as a sentence, now and then."""
        if not str(record.msg).startswith(NO_DESCRIPTOR):
            return True
        now_s = time.monotonic()
        is_due, record.exc_info = now_s >= self._next_s, None
        record.msg = (
            "no caller is let in: this process may open no more files; raise its limit (ulimit -n)"
        )
        self._next_s = now_s + SENTENCE_S if is_due else self._next_s
        return is_due


class NoneCutOff(logging.Filter):
    """A request that was cut off at a server's end is told of in a sentence; where it stood then is no defect."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged."""
        return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


class Server(uvicorn.Server):
    """Says at once that it was told to end, whatever keeps it then."""

    when_told: Callable[[], None] = staticmethod(lambda: None)
    """Called in the signal's handler, for each signal: it must not wait."""

    async def startup(self, sockets: Any = None) -> None:
        """As uvicorn does."""
        for name, kind in (("asyncio", OneSentence), ("uvicorn.error", NoneCutOff)):
            log = logging.getLogger(name)
            if not any(isinstance(each, kind) for each in log.filters):
                log.addFilter(kind())
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As uvicorn does, after that."""
        self.when_told()
        super().handle_exit(sig, frame)


def guarded(connections: Connections) -> type[asyncio.Protocol]:
    """The protocol of one server, with these bounds."""
    return type("GuardedHere", (Guarded,), {"allowed": connections})


def room_for_connections() -> tuple[int, int]:
    """(connections that this process may hold, of these to be taken in one turn of the event loop)."""
    most = descriptors()
    in_all = max(most - SPARE_DESCRIPTORS, most // 2)
    return in_all, max(min(MAX_TAKEN_AT_ONCE, (most - in_all) // 8), 1)


def descriptors() -> int:
    """How many files this process may have open, after asking for as many as are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # some systems state more than they give
            return soft
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
