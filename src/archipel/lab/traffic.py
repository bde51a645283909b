"""What passes the lab's door, counted by route and method: requests, and the bytes of their bodies; and what passes by it.

Parts: `Traffic` (the counts), `CountingDoor` (a layer around the application that keeps them).
Law: a route counts under the path it was declared with, and whatever meets no route under one name, so
strangers cannot add rows.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from archipel.lab.lanes import TAKEN

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

NO_ROUTE = ("none", "any")
"""Where requests count that no route takes."""


@dataclass(slots=True)
class Passed:
    """What one route has seen."""

    requests: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(slots=True)
class PassedBy:
    """Blobs that went between a node and the lab's store, and not through the lab."""

    blobs: int = 0
    bytes: int = 0

    def count(self, num_bytes: int) -> None:
        """One more."""
        self.blobs += 1
        self.bytes += num_bytes


class Traffic:
    """Counts since the lab started."""

    def __init__(self) -> None:
        self._passed: dict[tuple[str, str], Passed] = {}
        self.fetched = PassedBy()
        """As many as nodes were sent to the store for; it does not say what it sent."""
        self.landed = PassedBy()

    def note(self, place: tuple[str, str], bytes_in: int, bytes_out: int) -> None:
        """One more request at (route, method)."""
        passed = self._passed.setdefault(place, Passed())
        passed.requests += 1
        passed.bytes_in += bytes_in
        passed.bytes_out += bytes_out

    def rows(self) -> Iterable[tuple[tuple[str, str], Passed]]:
        """((route, method), what passed), by name."""
        return sorted(self._passed.items())


class CountingDoor:
    """An ASGI layer that counts each request once its answer has ended."""

    def __init__(self, app: App, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Let a request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bytes_in = bytes_out = 0

        async def heard() -> Message:
            nonlocal bytes_in
            message = await receive()
            bytes_in += len(message.get("body", b""))
            return message

        async def said(message: Message) -> None:
            nonlocal bytes_out
            bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, heard, said)
        finally:
            self._traffic.note(_place(scope), bytes_in, bytes_out)


def _place(scope: Mapping[str, Any]) -> tuple[str, str]:
    """The lane or route that took the request left itself in its scope."""
    if TAKEN in scope:
        path, method = scope[TAKEN]
        return path, method
    route, method = scope.get("route"), scope["method"]
    if route is None or method not in (getattr(route, "methods", None) or ()):
        return NO_ROUTE
    return route.path, method
