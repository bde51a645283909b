"""The lab's HTTP server: uvicorn, with an end to connections that say nothing.

Law: strangers cannot use up file descriptors: connections are bounded per address and in all, and a
request whose head is not here in time is cut, as is who takes nothing of an answer. A body's deadline is the
route's (`requests`).
"""

import asyncio
import gc
import resource
import sys
from collections import Counter
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from archipel.lab.doorman import neighbourhood
from archipel.lab.lab import Lab

HEAD_LIMIT_S = 20.0
"""A connection's first word, and the rest of a half-sent head, come within this."""
MAX_HEAD_BYTES = 65_536
"""Of a head, with whatever else came since the last part of a body."""
KEEP_ALIVE_S = 75.0
"""An idle connection stays open this long: a node that polls keeps it."""
SPARE_DESCRIPTORS = 256
"""For the ledger, blobs and uploads; half of what a process may have, if that is less."""
STALL_S = 120.0
"""An answer's next part, some hundred kilobytes, is taken within this: it may hold a file open."""
QUEUE = 4096
"""Connections that the system holds until the lab takes them."""
MAX_TAKEN_AT_ONCE = 32
"""Of that queue in one turn of the event loop; some turns pass until one that is refused is closed, and
asyncio writes a traceback for each that finds no descriptor."""
GRACEFUL_S = 2
SWITCH_S = 0.0005
"""A thread that comes back from the disk waits so long for the interpreter while the event loop is busy, and
an upload comes back a dozen times; by default ten times as long."""
YOUNG_OBJECTS = 20_000
"""Python looks for cycles among so many new objects at a time."""
WHOLE_HEAP_S = 600.0
"""Between two looks at everything. By itself Python looks again for every quarter that the heap has grown
since, which ten thousand waiting requests do every few seconds; each look stops the lab for a second."""
TICK_S = 0.1
"""uvicorn's."""


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


def guarded(connections: Connections) -> type[asyncio.Protocol]:
    """The protocol of one server, with these bounds."""
    return type("GuardedHere", (Guarded,), {"allowed": connections})


class LabServer(uvicorn.Server):
    """Lets waiting nodes go as soon as the end is asked for; ends with a lab that cannot go on."""

    def __init__(self, api: FastAPI, lab: Lab, per_address: int) -> None:
        """`per_address`: connections of one address."""
        most = descriptors()
        in_all = max(most - SPARE_DESCRIPTORS, most // 2)
        per_address = min(per_address, in_all // 2)  # one alone never locks out all others
        super().__init__(
            uvicorn.Config(
                api,
                http=guarded(Connections(per_address, in_all)),
                log_level="warning",
                access_log=False,
                lifespan="on",
                backlog=max(min(MAX_TAKEN_AT_ONCE, (most - in_all) // 8), 1),
                timeout_keep_alive=int(KEEP_ALIVE_S),
                timeout_graceful_shutdown=GRACEFUL_S,
            )
        )
        self._lab = lab

    async def startup(self, sockets: Any = None) -> None:
        """As uvicorn does, on `sockets`; what the lab began with is not looked at for garbage again."""
        collect_seldom()
        sys.setswitchinterval(SWITCH_S)
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(QUEUE)  # asyncio has one number for the queue and for a turn

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; whether to end: on request, or because the lab cannot go on."""
        if counter % round(WHOLE_HEAP_S / TICK_S) == 0 and counter:
            gc.collect()
        return await super().on_tick(counter) or self._lab.failure is not None

    async def shutdown(self, sockets: Any = None) -> None:
        """As uvicorn does, after the waiting requests."""
        self._lab.close()
        await super().shutdown(sockets)


def collect_seldom() -> None:
    """From now on this process looks for garbage in what is new, and at everything only when told to."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 1_000_000)


def descriptors() -> int:
    """How many files this process may have open, after asking for as many as are allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # some systems state more than they give
            return soft
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
