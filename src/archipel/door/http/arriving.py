"""Bodies on their way: bounded in bytes and time, each and all together, with room left for who has none."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from archipel.door.wire.bounds import MAX_BODY_BYTES
from archipel.door.wire.errors import Refused

BODY_LIMIT_S = 120.0
MAX_ARRIVING_BYTES = 512 * 1024 * 1024
"""Of all bodies in memory; one tenant may have half of what others leave."""


class Arriving:
    """Of one door."""

    def __init__(self) -> None:
        self._bytes: Counter[str] = Counter()

    @asynccontextmanager
    async def body(self, request: Request, tenant: str) -> AsyncIterator[bytes]:
        """The whole body, counted as long as it is looked at.

        Raises:
            Refused: `too_large`; `malformed`: not here in time; `crowded`: too much of this tenant is on its way.
        """
        length = request.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length[:19]) > MAX_BODY_BYTES:
            raise _too_large()
        body, counted = bytearray(), 0
        try:
            try:
                async with asyncio.timeout(BODY_LIMIT_S):
                    async for chunk in request.stream():
                        self._take(tenant, len(chunk), counted)
                        counted += len(chunk)
                        body += chunk
            except TimeoutError:
                raise Refused(
                    "malformed", f"the body was not here within {BODY_LIMIT_S:.0f} s; send it again"
                ) from None
            data = bytes(body)
            body.clear()
            yield data
        finally:
            self._bytes[tenant] -= counted
            if not self._bytes[tenant]:
                del self._bytes[tenant]

    def _take(self, tenant: str, num_bytes: int, counted: int) -> None:
        if counted + num_bytes > MAX_BODY_BYTES:
            raise _too_large()
        own = self._bytes[tenant]
        others = self._bytes.total() - own
        if own + num_bytes > (MAX_ARRIVING_BYTES - others) // 2:
            raise Refused("crowded", "too many bytes are on their way here; ask again", 2)
        self._bytes[tenant] += num_bytes


def _too_large() -> Refused:
    return Refused("too_large", f"a body of more than {MAX_BODY_BYTES} bytes; send less at once")
