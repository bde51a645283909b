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

    The request's body must have been read.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not working.done():
            working.cancel()
    return working.result() if working.done() else None


def address_of(request: Request) -> str:
    """Where a request comes from, as far as the connection tells."""
    return request.client.host if request.client is not None else "nowhere"


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
