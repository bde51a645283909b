"""A door over some hands in a thread of its own, and plain clients' way to it: no socket, the whole application."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from archipel.door.accounts import Accounts
from archipel.door.bounds import Bounds
from archipel.door.client.line import Line
from archipel.door.door import Door, wall_ms
from archipel.door.http.app import make_app
from archipel.door.keys import USUAL

URL = "http://door.test"
LIMIT_S = 120.0
Around = Callable[[httpx.Request, Callable[[httpx.Request], httpx.Response]], httpx.Response]


class Through(httpx.BaseTransport):
    """Requests of a plain client into the application; `around` may spoil or note them."""

    def __init__(self, ask: Callable[[Any], Any], app: Any) -> None:
        self._ask, self._transport = ask, httpx.ASGITransport(app)
        self.around: Around = lambda request, go_on: go_on(request)
        self.asked: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.around(request, self._go_on)

    def _go_on(self, request: httpx.Request) -> httpx.Response:
        async def answered() -> httpx.Response:
            answer = await self._transport.handle_async_request(request)
            body = b"".join([part async for part in answer.stream])  # type: ignore[union-attr]
            return httpx.Response(answer.status_code, headers=answer.headers, content=body)

        found: httpx.Response = self._ask(answered())
        return found


@contextmanager
def door_with(hands: Any, folder: Path) -> Iterator[tuple[Through, str]]:
    """Its way in, and a key."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def ask(what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, loop).result(LIMIT_S)

    accounts = Accounts(folder)
    door = Door(hands, folder, accounts, Bounds(poll_s=1.0))
    key = accounts.keys.make("ada", USUAL, wall_ms(), None)
    stack = AsyncExitStack()

    async def opened() -> None:
        await door.start()
        stack.push_async_callback(door.stop, 5.0)

    ask(opened())
    try:
        yield Through(ask, make_app(door)), key
    finally:
        ask(stack.aclose())
        accounts.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LIMIT_S)
        loop.close()


def line_to(through: Through, key: str, pauses: list[float] | None = None) -> Line:
    """A client's line; its pauses are noted and not waited."""
    noted: list[float] = [] if pauses is None else pauses
    return Line(URL, key, through, noted.append)
