"""The server around the door: a bound socket, bounded connections, an end that lets whoever is being answered hear it out.

Law: told to end, it takes nobody new, ends what runs within a stated time, and at once when told again.
"""

import asyncio
import logging
import math
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from archipel.connections import Connections, Server, guarded, room_for_connections
from archipel.records.own_machine import is_own_machine

KEEP_ALIVE_S = 75
DRAIN_S = 30.0
CUT_S = 3
"""Whoever is cut off at the end of that is told so within this."""
QUEUE = 1024
"""Connections that the system holds until they are taken."""


@dataclass(frozen=True)
class Ending:
    """How a server ends when it is told to."""

    within_s: float = DRAIN_S
    """For what is being answered; then it is cut off."""
    say: Callable[[str], None] = lambda _: None
    """To whoever told it."""
    cut: Callable[[], None] = lambda: None
    """Breaks off all answers, each with a word to its reader; called on the event loop, and must not wait."""
    when_told: Callable[[], None] = lambda: None
    """Called in the signal's handler, and must not wait."""


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


async def serve(door: Starlette, listener: socket.socket, ending: Ending = Ending()) -> bool:
    """Until the process is told to end; whether it was told twice, so that something may still be at work."""
    logging.getLogger("asyncio").setLevel(
        logging.ERROR
    )  # it warns of each who hangs up in an answer
    server = DoorServer(door, ending, is_loopback=is_own_machine(str(listener.getsockname()[0])))
    await server.serve([listener])
    return server.force_exit


class DoorServer(Server):
    """Ends in good order at the first word, and at once at the second."""

    def __init__(self, door: Starlette, ending: Ending, *, is_loopback: bool) -> None:
        """is_loopback: then everybody has one address, and that one may have all connections."""
        in_all, at_once = room_for_connections()
        per_address = in_all if is_loopback else in_all // 2
        super().__init__(
            uvicorn.Config(
                door,
                http=guarded(Connections(per_address, in_all)),
                ws="none",
                lifespan="off",
                log_level="critical",
                access_log=False,
                backlog=at_once,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=math.ceil(ending.within_s) + CUT_S,
            )
        )
        self._ending = ending
        self.when_told = ending.when_told

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came; the process ends by itself, so nothing is raised again afterwards."""
        self.when_told()
        if self.should_exit:
            self.force_exit = True
            asyncio.get_event_loop().call_soon_threadsafe(self._abort)
        self.should_exit = True

    async def startup(self, sockets: Any = None) -> None:
        """As uvicorn does, on `sockets`, with a longer queue than it takes in one turn."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(QUEUE)

    async def shutdown(self, sockets: Any = None) -> None:
        """As uvicorn does; what is not ended in time is cut off."""
        num_answers = len(self.server_state.tasks)
        if num_answers and not self.force_exit:
            self._ending.say(
                f"ending: nobody new is taken, {num_answers} under way have {self._ending.within_s:.0f} s; "
                "a second Ctrl-C ends it at once"
            )
        cutting = asyncio.get_running_loop().call_later(self._ending.within_s, self._ending.cut)
        try:
            await super().shutdown(sockets)
        finally:
            cutting.cancel()

    def _abort(self) -> None:
        """Some versions of asyncio wait for connections however they are told to end."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
