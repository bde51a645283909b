"""How a door reads what is sent to it: bounded in bytes and time, each and all together."""

import asyncio
from collections import Counter

from starlette.requests import Request

from archipel.serve.dialects.dialect import MAX_BODY_BYTES
from archipel.serve.question import BadQuestion, Crowded

BODY_LIMIT_S = 60.0
MAX_ARRIVING_BYTES = 256 * 1024 * 1024
"""Of all bodies that are on their way, in memory."""
_arriving = Counter[str]()


async def body_of(request: Request) -> bytes:
    """The whole body.

    Raises:
        BadQuestion: too large, or not here in time. Crowded: too much is on its way.
    """
    body = bytearray()
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:19]) > MAX_BODY_BYTES:
        raise BadQuestion(f"a body of {length:.19} bytes; at most {MAX_BODY_BYTES}")
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            async for chunk in request.stream():
                if len(body) + len(chunk) > MAX_BODY_BYTES:
                    raise BadQuestion(f"the body is larger than {MAX_BODY_BYTES} bytes; send less")
                if _arriving["bytes"] + len(chunk) > MAX_ARRIVING_BYTES:
                    raise Crowded(
                        f"{_arriving['bytes']} bytes of questions are on their way; send it again later"
                    )
                _arriving["bytes"] += len(chunk)
                body += chunk
    except TimeoutError:
        raise BadQuestion(
            f"the body was not here within {BODY_LIMIT_S:.0f} s; send it again"
        ) from None
    finally:
        _arriving["bytes"] -= len(body)
    return bytes(body)
