"""Bytes from and to the store of a lab, where the lab sends us: followed once, believed in nothing.

Parts: `target_of` (which addresses are followed, pure), `Direct` (requests to the store). Law: an address is followed only by
TLS, or on this machine where the lab is on it too; nothing that is meant for the lab goes there; what comes is bounded and
hashed as if it came from the lab. A store that fails is left alone for a while, and the lab asked for the bytes themselves.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx

from archipel.blobs.errors import BlobBusy, BlobIncomplete, BlobTooLarge, DigestMismatch
from archipel.blobs.s3_direct import is_tag
from archipel.node.exchange import (
    CONNECT_LIMIT_S,
    NO_COMPRESSION,
    READ_LIMIT_S,
    authorities,
)
from archipel.records.landing import FOLLOWS, MAX_URL_CHARACTERS
from archipel.records.own_machine import is_own_machine

logger = logging.getLogger("archipel.node")

AGAIN_S = 600.0
"""A store that failed is asked again after this."""
SENT_ELSEWHERE = httpx.codes.TEMPORARY_REDIRECT

_TROUBLE = (
    *(httpx.HTTPError, httpx.InvalidURL, httpx.StreamError),
    *(BlobIncomplete, BlobBusy, BlobTooLarge, DigestMismatch),
)


class NotFollowed(ValueError):
    """An address that no store of this lab may have; the message says why."""


class StoreFailed(Exception):
    """The store did not give or take the bytes; the lab does."""


def target_of(url: str, lab: str) -> str:
    """The address itself, if it is followed.

    Args:
        url: as the lab says it.
        lab: the lab's own.

    Raises:
        NotFollowed: it is no web address, holds a password, or is not by TLS though not on the lab's and our own machine.
    """
    if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable():
        raise NotFollowed(f"expected an address of at most {MAX_URL_CHARACTERS} plain characters")
    try:
        parts = urlsplit(url)
        host, port, there = parts.hostname or "", parts.port, urlsplit(lab).hostname or ""
    except ValueError as error:
        raise NotFollowed(f"{url!a:.80}: {error}") from None
    if not host or port == 0 or parts.username is not None or parts.password is not None:
        raise NotFollowed(f"{url!a:.80}: expected https:// and a host alone")
    if parts.scheme == "https":
        return url
    if parts.scheme == "http" and is_own_machine(host) and is_own_machine(there):
        return url
    raise NotFollowed(f"{parts.scheme!a:.20}://{host!a:.80}: a store is followed by https alone")


class Direct:
    """The way to the store of one lab."""

    def __init__(
        self, lab: Callable[[], str], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """lab: its address now."""
        self._lab, self._clock_s = lab, clock_s
        self._again_s = 0.0
        self._http: httpx.AsyncClient | None = None
        self.lands = True
        """The lab has landings, as far as we know."""
        self.bytes_down = self.bytes_up = 0

    async def close(self) -> None:
        """Drop the connections."""
        if self._http is not None:
            await self._http.aclose()

    @property
    def is_on(self) -> bool:
        """Whether the store did not fail lately."""
        return self._clock_s() >= self._again_s

    @property
    def asks(self) -> dict[str, str]:
        """The header that says that we follow; empty: we do not now."""
        return {FOLLOWS: "yes"} if self.is_on else {}

    def failed(self, reason: str) -> None:
        """Leave the store alone for a while."""
        self._again_s = self._clock_s() + AGAIN_S
        logger.info("store left alone", extra={"reason": reason[:300]})

    def target(self, answer: httpx.Response) -> str | None:
        """Where an answer of the lab sends us; None: nowhere. Raises StoreFailed: where nobody is followed."""
        if answer.status_code != SENT_ELSEWHERE:
            return None
        try:
            return target_of(answer.headers.get("location", ""), self._lab())
        except NotFollowed as error:
            raise self._failure(str(error)) from None

    @asynccontextmanager
    async def reading(self, target: str, offset: int) -> AsyncIterator[httpx.Response]:
        """The store's answer with a blob's bytes from `offset` on.

        Raises:
            StoreFailed: it did not give them, or the block found other bytes than it expected.
        """
        span = {"Range": f"bytes={offset}-"} if offset else {}
        expected = httpx.codes.PARTIAL_CONTENT if offset else httpx.codes.OK
        try:
            async with self._client().stream("GET", target, headers=span) as answer:
                if answer.status_code != expected:
                    raise self._failure(f"status {answer.status_code}, expected {int(expected)}")
                yield answer
                self.bytes_down += answer.num_bytes_downloaded
        except _TROUBLE as error:
            raise self._failure(str(error) or type(error).__name__) from None

    async def put(
        self, url: str, size: int, headers: Mapping[str, str], body: AsyncIterator[bytes]
    ) -> str:
        """Send `size` bytes; what the store calls them, empty if it does not say.

        Raises:
            StoreFailed: it did not take them. OSError: ours, while they were read.
        """
        try:
            target = target_of(url, self._lab())
            sent = {**headers, "Content-Length": str(size)}
            async with self._client().stream("PUT", target, headers=sent, content=body) as answer:
                if not answer.is_success:
                    raise self._failure(f"status {answer.status_code} to a PUT")
                tag = answer.headers.get("etag", "")
        except NotFollowed as error:
            raise self._failure(str(error)) from None
        except _TROUBLE as error:
            raise self._failure(str(error) or type(error).__name__) from None
        self.bytes_up += size
        return tag if is_tag(tag) else ""

    def _client(self) -> httpx.AsyncClient:
        """Of its own: no header, cookie or connection is shared with the lab's."""
        if self._http is None:
            limits = httpx.Timeout(READ_LIMIT_S, connect=CONNECT_LIMIT_S)
            self._http = httpx.AsyncClient(
                timeout=limits,
                trust_env=False,
                headers=NO_COMPRESSION,
                verify=authorities(),
                follow_redirects=False,
            )
        return self._http

    def _failure(self, reason: str) -> StoreFailed:
        self.failed(reason)
        return StoreFailed(reason)
