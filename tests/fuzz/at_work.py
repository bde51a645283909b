"""An open door as the fuzzer sees it: where it is, what its routes are, how it is described, what lies in it."""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette

from archipel.connections import Connections, guarded
from fuzz.described import Operation, described_in

OWN_FORM = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "unsupported_method", "allow_header_conformance"),
)
"""Of doors that describe themselves. Left out: that what is not described is refused; clients of models send many
fields that are passed over."""
NO_DEFECT = ("not_a_server_error",)
"""Of doors that we describe here."""
ENDLESS: frozenset[Operation] = frozenset({("GET", "/pages/events")})
"""An answer that never ends, so nothing waits for it; tests/dashboard/test_pages.py hears it."""


@dataclass(frozen=True)
class AtWork:
    """An open door."""

    url: str
    routes: frozenset[Operation]
    description: Mapping[str, Any]
    describes_itself: bool = False
    """At /openapi.json, word for word."""
    headers: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Of fields and parameters: what is there."""
    bodies: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    """Sound ones, by media type."""
    full: tuple[int, ...] = ()
    """Statuses from 500 on that it documents."""

    @property
    def forgotten(self) -> set[Operation]:
        """Routes that are not fuzzed."""
        return set(self.routes) - described_in(self.description) - ENDLESS

    @property
    def there(self) -> dict[str, Any]:
        """For the hooks."""
        encoded = {
            media: [base64.b64encode(each).decode() for each in words]
            for media, words in self.bodies.items()
        }
        return {"names": dict(self.names), "bodies": encoded}


@asynccontextmanager
async def behind_a_socket(app: Starlette) -> AsyncIterator[str]:
    """Its URL while the block lasts; what it raises is logged, as in `defects_logged`."""
    config = uvicorn.Config(
        app,
        http=guarded(Connections(1000, 1000)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server._serve([listener]))
        while not server.started:  # noqa: ASYNC110  uvicorn offers no event for it
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving
