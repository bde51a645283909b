"""`/pages/events`: a line whenever the ledger grew, at most one a second, and nothing else (server-sent events).

Law: what grew is not said, so whoever was away for a while fetches its page anew and is right; the number of listeners is
bounded in all and for an address, and so is the life of each.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from archipel.connections import neighbourhood
from archipel.dashboard.http.headers import SECURE
from archipel.dashboard.source import Source

MOST, MOST_OF_ADDRESS = 512, 16
LEAST_S, HEARTBEAT_S = 1.0, 15.0
LIFE_S = 1800.0
"""Then the browser comes again by itself."""
RETRY_MS = 3000
_ID = re.compile(r"[0-9]{1,16}")


class Listeners:
    """Who is told that the ledger grew."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds that only go forwards."""
        self._source, self._clock = source, clock
        self._of: Counter[str] = Counter()
        self._is_over = False

    @property
    def number(self) -> int:
        """Of those that listen now."""
        return self._of.total()

    def close(self) -> None:
        """Each is let go at its next turn."""
        self._is_over = True

    async def route(self, request: Request) -> Response:
        """One more that listens."""
        address = neighbourhood(request.client.host) if request.client else "unknown"
        if self.number >= MOST or self._of[address] >= MOST_OF_ADDRESS:
            words = f"{self.number} listen already, {self._of[address]} from this address; the page still loads by hand\n"
            headers = SECURE | {"Retry-After": "60"}
            return Response(words, 503, headers, "text/plain; charset=utf-8")
        said = request.headers.get("last-event-id") or request.query_params.get("size", "")
        known = int(said) if _ID.fullmatch(said) else None
        headers = SECURE | {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        if request.method == "HEAD":
            return Response(headers=headers, media_type="text/event-stream")
        stream = self.told(address, known)
        begun = await anext(stream)  # and so it is counted before anybody else is let in
        return StreamingResponse(
            _whole(begun, stream), headers=headers, media_type="text/event-stream"
        )

    async def told(self, address: str, known: int | None) -> AsyncGenerator[bytes]:
        """The stream. known: the size that this listener saw last; None: what there is now."""
        self._of[address] += 1
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            size = await asyncio.to_thread(lambda: self._source.look().size)
            if known is not None and known != size:
                yield _event(size)
            end = self._clock() + LIFE_S
            while self._clock() < end and not self._is_over:
                new = await self._source.grown(size, HEARTBEAT_S)
                if new > size:
                    yield _event(new)
                    size = new
                    await asyncio.sleep(LEAST_S)
                else:
                    yield b": here\n\n"
        finally:
            self._of[address] -= 1
            if self._of[address] <= 0:
                del self._of[address]


async def _whole(begun: bytes, rest: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
    """A stream whose first part was taken."""
    try:
        yield begun
        async for each in rest:
            yield each
    finally:
        await rest.aclose()


def _event(size: int) -> bytes:
    return b'id: %d\ndata: {"size":%d}\n\n' % (size, size)
