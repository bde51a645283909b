"""The lab's HTTP server: uvicorn, with the bounds of `connections`. A body's deadline is the route's (`requests`)."""

import gc
import logging
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI

from archipel.connections import Connections, Server, guarded, room_for_connections
from archipel.lab.certificate import Certificate, keep_up
from archipel.lab.lab import Lab

logger = logging.getLogger("archipel.lab")

KEEP_ALIVE_S = 75.0
"""An idle connection stays open this long: a node that polls keeps it."""
QUEUE = 4096
"""Connections that the system holds until the lab takes them."""
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


class LabServer(Server):
    """Lets waiting nodes go as soon as the end is asked for; ends with a lab that cannot go on."""

    def __init__(
        self,
        api: FastAPI,
        lab: Lab,
        per_address: int,
        certificate: Certificate | None = None,
        when_told: Callable[[], None] = lambda: None,
    ) -> None:
        """`per_address`: connections of one address. `certificate`: None: plain HTTP. `when_told`: see `Server`; called
        too when the lab cannot go on.
        """
        in_all, at_once = room_for_connections()
        per_address = min(per_address, in_all // 2)  # one alone never locks out all others
        super().__init__(
            uvicorn.Config(
                api,
                http=guarded(Connections(per_address, in_all)),
                log_level="warning",
                access_log=False,
                lifespan="on",
                backlog=at_once,
                timeout_keep_alive=int(KEEP_ALIVE_S),
                timeout_graceful_shutdown=GRACEFUL_S,
                ssl_context_factory=None if certificate is None else lambda *_: certificate.context,
            )
        )
        self._lab, self._certificate, self.when_told = lab, certificate, when_told

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
        keep_up(self._certificate, counter)
        return await super().on_tick(counter) or self._lab.failure is not None

    async def shutdown(self, sockets: Any = None) -> None:
        """As uvicorn does, after the waiting requests."""
        self.when_told()
        self._lab.close()
        await super().shutdown(sockets)


def collect_seldom() -> None:
    """From now on this process looks for garbage in what is new, and at everything only when told to."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 10, 1_000_000)
