"""How a door reads what is sent to it: bounded in bytes and time, each and all together."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from archipel.serve.dialects.dialect import MAX_BODY_BYTES
from archipel.serve.question import BadQuestion, Crowded

BODY_LIMIT_S = 60.0
MAX_ARRIVING_BYTES = 256 * 1024 * 1024
"""Of all bodies that are on their way, or wait to be read, in memory."""
_arriving = Counter[str]()


@asynccontextmanager
async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The whole body, which counts among those that are on their way for as long as it is looked at.

    Raises:
        BadQuestion: too large, or not here in time. Crowded: too much is on its way.
    """
    body, counted = bytearray(), Counter[str]()
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:19]) > MAX_BODY_BYTES:
        raise BadQuestion(f"a body of {length:.19} bytes; at most {MAX_BODY_BYTES}")
    try:
        try:
            async with asyncio.timeout(BODY_LIMIT_S):
                async for chunk in request.stream():
                    _take(len(chunk), counted)
                    body += chunk
        except TimeoutError:
            raise BadQuestion(
                f"the body was not here within {BODY_LIMIT_S:.0f} s; send it again"
            ) from None
        data = bytes(body)
        body.clear()
        yield data
    finally:
        _arriving.subtract(counted)


def _take(num_bytes: int, counted: Counter[str]) -> None:
    """So many more of one body."""
    if counted["bytes"] + num_bytes > MAX_BODY_BYTES:
        raise BadQuestion(f"the body is larger than {MAX_BODY_BYTES} bytes; send less")
    if _arriving["bytes"] + num_bytes > MAX_ARRIVING_BYTES:
        raise Crowded(
            f"{_arriving['bytes']} bytes of questions are on their way; send it again later"
        )
    for each in (_arriving, counted):
        each["bytes"] += num_bytes
