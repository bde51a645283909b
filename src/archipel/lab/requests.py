"""What the routes share: bodies with a bound and a deadline, and an end to work nobody waits for."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from archipel.connections import neighbourhood
from archipel.lab.refusals import Busy, Refused, TooLarge

BODY_LIMIT_S = 30.0
"""A body that is not here by then is cut off; a record's is small."""

MAX_ARRIVING_BYTES = 512 * 1024 * 1024
"""Of all bodies that are on their way, in memory."""
MAX_ARRIVING_PER_ADDRESS = 64 * 1024 * 1024

T = TypeVar("T")


class Arriving:
    """Bytes of bodies that are not here whole, by address: who sends half of many gets no more room."""

    def __init__(self, in_all: int, per_address: int) -> None:
        self._in_all = in_all
        self._per_address = per_address
        self._held: Counter[str] = Counter()

    def take(self, address: str, num_bytes: int) -> None:
        """Raises Busy when this address, or all together, hold too much."""
        held = self._held[address] + num_bytes
        if held > self._per_address or self._held.total() + num_bytes > self._in_all:
            raise Busy(
                f"{held} bytes from {address} are on their way already; send them again later"
            )
        self._held[address] = held

    def give_back(self, address: str, num_bytes: int) -> None:
        """They are here, or will never be."""
        self._held[address] -= num_bytes
        if not self._held[address]:
            del self._held[address]


_arriving = Arriving(MAX_ARRIVING_BYTES, MAX_ARRIVING_PER_ADDRESS)


async def bounded_body(request: Request, limit: int) -> bytes:
    """The body, or a refusal as soon as it exceeds `limit` bytes or BODY_LIMIT_S seconds."""
    body, address = bytearray(), address_of(request)
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limit:
                    raise TooLarge(f"the body is larger than {limit} bytes")
                _arriving.take(address, len(chunk))
                body += chunk
    except TimeoutError:
        raise Refused(f"the body was not here within {BODY_LIMIT_S:.0f} s; send it again") from None
    finally:
        _arriving.give_back(address, len(body))
    return bytes(body)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None, and an end to it, once nobody waits for the answer any more.

    The request's body must have been read. The work goes on in the request's own task, which a watcher
    ends: ten thousand that wait cost one task each less.
    """
    task = asyncio.current_task()
    has_hung_up = False

    async def watch() -> None:
        nonlocal has_hung_up
        while (await request.receive())["type"] != "http.disconnect":
            pass
        has_hung_up = True
        if task is not None:
            task.cancel()

    watching = asyncio.ensure_future(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if not has_hung_up or task is None or task.uncancel() > 0:
            raise
        return None
    finally:
        watching.cancel()


async def to_its_end(work: Callable[[], T]) -> T:
    """Run in a thread, and wait for it even if nobody wants it any more: what it works on is closed next."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        running.exception()  # nobody else looks at it
        raise


def host_of(request: Request) -> str:
    """The address itself that a request comes from; empty if the connection does not tell."""
    return request.client.host if request.client is not None else ""


def address_of(request: Request) -> str:
    """Where a request comes from, as far as the connection tells; see `connections.neighbourhood`."""
    return neighbourhood(request.client.host) if request.client is not None else "nowhere"
