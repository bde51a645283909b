"""Which of a lab's addresses is asked: one lab may answer at several, of which one leads.

Parts: `Addresses`, `Asking` (requests to whichever answers). Law: an address is left when it does not answer, or says that another lab leads; all are asked in turn, none for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import httpx

from archipel.node.address import lab_addresses
from archipel.node.exchange import (
    DOCUMENT,
    NO_ANSWER_FROM,
    Bounds,
    LabUnreachable,
    NotHeard,
    bounded_body,
    open_client,
    refusal,
    unreachable,
)


class Addresses:
    """Of one lab; not safe for several threads."""

    def __init__(self, text: str) -> None:
        """Raises BadAddress."""
        self.every = lab_addresses(text)
        self._place = 0

    @property
    def now(self) -> str:
        """The one that is asked."""
        return self.every[self._place]

    def leave(self, failed: str) -> bool:
        """Go on from the address that failed, unless somebody did already; whether there is another at all."""
        if self.now == failed:
            self._place = (self._place + 1) % len(self.every)
        return len(self.every) > 1

    def __str__(self) -> str:
        """As they are given on a command line."""
        return ",".join(self.every)


class Asking:
    """Connections to a lab at one of its addresses; drops them when the block ends."""

    def __init__(self, url: str) -> None:
        """url: one address or several, with commas. Raises BadAddress."""
        self.addresses = Addresses(url)
        self.http = open_client(self.url)

    @property
    def url(self) -> str:
        """The address that is asked now."""
        return self.addresses.now

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop the connections."""
        await self.http.aclose()

    def turn_to(self, url: str) -> None:
        """Ask at this address from now on, and at no other. Raises BadAddress."""
        self.addresses = Addresses(url)
        self.http.base_url = self.url

    async def _exchange(
        self, method: str, path: str, most: Bounds = DOCUMENT, **options: Any
    ) -> bytes:
        """An answer's bytes; what nobody took in is sent to the lab's other addresses in turn."""
        for left in reversed(range(len(self.addresses.every))):
            asked = self.url
            try:
                return await self._answered(method, path, most, options)
            except NotHeard:
                self.leave(asked)
                if not left or not _is_whole(options.get("content", b"")):
                    raise
            except LabUnreachable:
                self.leave(asked)
                raise
        raise AssertionError("a lab has an address")

    def leave(self, failed: str) -> None:
        """Ask elsewhere from now on, if there is another address."""
        if self.addresses.leave(failed):
            self.http.base_url = self.url

    async def _answered(
        self, method: str, path: str, most: Bounds, options: Mapping[str, Any]
    ) -> bytes:
        asked = self.url
        try:
            async with asyncio.timeout(most.limit_s):
                async with self.http.stream(method, path, **options) as answer:
                    body = await bounded_body(answer, most.max_bytes)
        except (httpx.HTTPError, TimeoutError) as error:
            raise unreachable(asked, error, most.limit_s) from None
        if answer.status_code >= NO_ANSWER_FROM:
            raise refusal(answer, body, asked)
        return body


def _is_whole(content: bytes | AsyncIterator[bytes]) -> bool:
    """Whether it can be sent once more."""
    return isinstance(content, bytes)
