"""The application: every call by the wire's table, who asks by its key, bodies within bounds, refusals in the clients' words.

Laws: nothing is asked of the door before its caller is known; whoever hangs up holds nothing; a defect is logged by its
place in the source and never quotes what was asked.
"""

import asyncio
import logging
import traceback
from collections import Counter

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from archipel.door.door import Door
from archipel.door.http.arriving import Arriving
from archipel.door.http.asked import Called
from archipel.door.http.files import Files
from archipel.door.http.handlers import HANDLERS
from archipel.door.http.links import Links
from archipel.door.http.metrics import MEDIA_TYPE, prometheus_text
from archipel.door.journal import JournalBroken
from archipel.door.keys import Tenant
from archipel.door.usage_routes import usage_routes
from archipel.door.wire import calls
from archipel.door.wire.errors import Refused, Told, told

logger = logging.getLogger("archipel.door")
NO_CALL = "none"
MAX_PLACES = 8
SLOW_S = 60.0
"""A call that is no poll is answered within this, or told to come again."""


def make_app(door: Door) -> Starlette:
    """Over an open door."""
    app = _App(door)
    return Starlette(
        routes=[
            Route("/health", app.health),
            Route("/metrics", app.metrics),
            *usage_routes(door.admitting.accounts, door.means.now_ms),
            Route("/files/{folder}/{ends}/{signature}/{file}", app.files),
            Route(calls.BASE + "{path:path}", app.call, methods=["GET", "POST", "PUT", "DELETE"]),
        ]
    )


class _App:
    def __init__(self, door: Door) -> None:
        self._door, self._links, self._arriving = door, Links(), Arriving()
        self._files = Files(door, self._links)
        self._requests: Counter[tuple[str, int]] = Counter()

    async def health(self, request: Request) -> Response:
        """That it is there, to anybody."""
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """Sums alone, to whoever has a key."""
        try:
            self._who(request)
        except Refused as why:
            return _response(told(why))
        return Response(prometheus_text(self._door, self._requests), media_type=MEDIA_TYPE)

    async def files(self, request: Request) -> Response:
        """Of a checkpoint, to whoever has the address."""
        try:
            return await self._files.response(request)
        except Refused as why:
            return _response(told(why))

    async def call(self, request: Request) -> Response:
        """One of the table."""
        name, is_polled = NO_CALL, False
        try:
            found, parts = calls.find(request.method, request.url.path)
            name, is_polled = found.name, found.is_polled
            answer = await self._answered(request, found, parts)
        except Refused as refused:
            answer = told(refused, is_polled)
        except ClientDisconnect:
            answer = Told(499, b"")
        except JournalBroken as error:
            logger.error("%s", error)  # noqa: TRY400  the sentence says where
            lost = Refused("unavailable", "the door's disk did not take it; ask again", 5)
            answer = told(lost, is_polled)
        except Exception as error:  # noqa: BLE001  whatever it was, it is told in the protocol's own form
            answer = told(_broken(error, name), is_polled)
        self._requests[name, answer.status] += 1
        return _response(answer)

    async def _answered(self, request: Request, found: calls.Call, parts: dict[str, str]) -> Told:
        handler = HANDLERS[found.name]
        tenant = self._who(request)
        async with self._arriving.body(request, tenant.id) as body:
            called = Called(
                self._door,
                self._links,
                tenant,
                body,
                parts,
                dict(request.query_params),
                request.headers,
                f"{request.url.scheme}://{request.url.netloc}",
            )
            limit_s = SLOW_S + (self._door.means.bounds.poll_s if found.is_polled else 0)
            try:
                async with asyncio.timeout(limit_s):
                    return await handler(called)
            except TimeoutError:
                raise Refused("unavailable", "the door is too slow now; ask again", 5) from None

    def _who(self, request: Request) -> Tenant:
        key = request.headers.get("x-api-key", "")
        if not key:
            scheme, _, key = request.headers.get("authorization", "").partition(" ")
            key = key.strip() if scheme.lower() == "bearer" else ""
        if not key:
            raise Refused(
                "unknown_key", "no API key; send one of this door's in the header X-API-Key"
            )
        return self._door.admitting.who(key)


def _response(answer: Told) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers), answer.media)


def _broken(error: Exception, name: str) -> Refused:
    places = "".join(traceback.format_tb(error.__traceback__)[-MAX_PLACES:])
    logger.error("%s while answering %s\n%s", type(error).__name__, name, places)
    return Refused("broken", f"the door failed ({type(error).__name__}); its log says where")
