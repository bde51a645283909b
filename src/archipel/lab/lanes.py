"""A short way through the door for the two requests that nodes live by.

A framework's way from a request to its route (matching, dependencies, exit stacks) costs as much as all
that a lab does with a record. A request in its usual form goes straight to the route's own function;
whatever is unusual about another (method, query, path) is left to the framework, which says what is wrong.
Law: both ways end in the same function and in the same problem documents.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

TAKEN = "archipel.lane"
"""Where a request's scope says which lane took it: (path, method)."""
Lane = Callable[[Request, Mapping[str, str]], Awaitable[Response]]
"""(request, the named groups of its query)."""
OnError = Callable[[Request, Exception], Awaitable[Response]]


class Lanes:
    """Middleware: the lanes by path, for POST; everything else goes to `app`."""

    def __init__(
        self,
        app: ASGIApp,
        lanes: Mapping[str, tuple[re.Pattern[bytes], Lane]],
        errors: Mapping[type[Exception], OnError],
    ) -> None:
        """`lanes`: path -> (the usual queries, what answers); `errors`: what becomes of what it raises."""
        self._app = app
        self._lanes = lanes
        self._errors = dict(errors)
        self._kinds = tuple(errors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        lane = self._lanes.get(scope["path"]) if scope["type"] == "http" else None
        usual = None
        if lane is not None and scope["method"] == "POST":
            usual = lane[0].fullmatch(scope["query_string"])
        if lane is None or usual is None:
            await self._app(scope, receive, send)
            return
        scope[TAKEN] = (scope["path"], scope["method"])
        request = Request(scope, receive, send)
        named: dict[str, Any] = {
            key: value.decode() for key, value in usual.groupdict().items() if value
        }
        try:
            response = await lane[1](request, named)
        except self._kinds as error:
            kind = next(kind for kind in self._kinds if isinstance(error, kind))
            response = await self._errors[kind](request, error)
        await response(scope, receive, send)
