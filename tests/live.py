"""A lab behind a real socket on 127.0.0.1, and a network that cuts connections when told to."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import uvicorn
from starlette.routing import BaseRoute, Mount

from archipel.connections import Connections, guarded
from archipel.lab.api import make_api
from archipel.lab.doorman import DoorLimits
from world import World

CHUNK_BYTES = 16_384


@asynccontextmanager
async def live(
    world: World,
    port: int = 0,
    skew_ms: int = 0,
    limits: DoorLimits | None = None,
    pages: Sequence[BaseRoute] = (),
    mirrors: Path | None = None,
) -> AsyncIterator[str]:
    """The lab's URL while the block lasts; from now on its clock is this machine's, but for `skew_ms`.

    pages: what is mounted at /pages. mirrors: the folder of those that it keeps.
    """
    world.lab.clock_ms = lambda: time.time_ns() // 1_000_000 + skew_ms
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        api = make_api(world.lab, limits=limits, mirrors=mirrors)
        api.router.routes.append(Mount("/pages", routes=pages))
        config = uvicorn.Config(
            api,
            http=guarded(Connections(1000, 1000)),
            log_level="critical",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve([listener]))
        while not server.started:  # noqa: ASYNC110  uvicorn offers no event for it
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            world.lab.close()
            server.should_exit = True
            await serving


class BadNetwork:
    """Relays to a lab; each of the first connections is cut after its number of bytes."""

    def __init__(self, url: str, cuts: list[int], *, upwards: bool) -> None:
        self._target = int(url.rsplit(":", 1)[1])
        self._cuts = list(cuts)
        self._upwards = upwards
        self.bytes_down = 0
        self.bytes_up = 0
        self.connections = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            await server.wait_closed()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        limit = self._cuts.pop(0) if self._cuts else None
        up, down = (limit, None) if self._upwards else (None, limit)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        ways = [
            asyncio.create_task(self._pump(reader, far_writer, up, is_up=True)),
            asyncio.create_task(self._pump(far_reader, writer, down, is_up=False)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for each in (writer, far_writer):
            each.transport.abort()
            with suppress(OSError):
                await each.wait_closed()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limit: int | None,
        *,
        is_up: bool,
    ) -> None:
        left = limit
        while left is None or left > 0:
            data = await reader.read(CHUNK_BYTES if left is None else min(left, CHUNK_BYTES))
            if not data:
                return
            if is_up:
                self.bytes_up += len(data)
            else:
                self.bytes_down += len(data)
            writer.write(data)
            await writer.drain()
            left = None if left is None else left - len(data)
