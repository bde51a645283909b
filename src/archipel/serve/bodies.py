"""How a door reads what is sent to it: bounded in bytes and time, each and all together, with room left for who has none."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from archipel.serve.dialects.dialect import MAX_BODY_BYTES
from archipel.serve.question import BadQuestion, Crowded

BODY_LIMIT_S = 60.0
MAX_ARRIVING_BYTES = 256 * 1024 * 1024
"""Of all bodies that are on their way, or wait to be read, in memory; one key may have half of what others leave."""
_arriving = Counter[str]()
"""By key."""


@asynccontextmanager
async def body_of(request: Request, key: str) -> AsyncIterator[bytes]:
    """The whole body, which counts among those that are on their way for as long as it is looked at.

    key: whose it is.

    Raises:
        BadQuestion: too large, or not here in time. Crowded: too much of this key is on its way.
    """
    body, counted = bytearray(), 0
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:19]) > MAX_BODY_BYTES:
        raise BadQuestion(f"a body of {length:.19} bytes; at most {MAX_BODY_BYTES}")
    try:
        try:
            async with asyncio.timeout(BODY_LIMIT_S):
                async for chunk in request.stream():
                    _take(len(chunk), counted, key)
                    counted += len(chunk)
                    body += chunk
        except TimeoutError:
            raise BadQuestion(
                f"the body was not here within {BODY_LIMIT_S:.0f} s; send it again"
            ) from None
        data = bytes(body)
        body.clear()
        yield data
    finally:
        _arriving[key] -= counted
        if not _arriving[key]:
            del _arriving[key]


def _take(num_bytes: int, counted: int, key: str) -> None:
    """So many more of one body, of which so many are here."""
    if counted + num_bytes > MAX_BODY_BYTES:
        raise BadQuestion(f"the body is larger than {MAX_BODY_BYTES} bytes; send less")
    own = _arriving[key]
    others = _arriving.total() - own
    if own + num_bytes > (MAX_ARRIVING_BYTES - others) // 2:
        raise Crowded(
            f"{own} bytes of this key's questions are on their way, and {others} of others'; send it again later"
        )
    _arriving[key] += num_bytes
