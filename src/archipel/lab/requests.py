"""What the routes share: bodies with a bound and a deadline, and an end to work nobody waits for."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from archipel.lab.refusals import Refused, TooLarge

BODY_LIMIT_S = 30.0
"""A body that is not here by then is cut off; a record's is small."""

T = TypeVar("T")


async def bounded_body(request: Request, limit: int) -> bytes:
    """The body, or a refusal as soon as it exceeds `limit` bytes or BODY_LIMIT_S seconds."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise TooLarge(f"the body is larger than {limit} bytes")
    except TimeoutError:
        raise Refused(f"the body was not here within {BODY_LIMIT_S:.0f} s; send it again") from None
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


def address_of(request: Request) -> str:
    """Where a request comes from, as far as the connection tells."""
    return request.client.host if request.client is not None else "nowhere"
