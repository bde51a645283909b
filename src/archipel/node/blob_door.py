"""The one door of a node: other nodes fetch parts of published versions through it, and can do nothing else.

It understands `GET /blobs/<digest>` with one range of bytes, in heads of a bounded size; every other word ends the
connection. Law: connections, waiting and bytes a second are bounded; what is served was hashed (`sharing`).
"""

import asyncio
import contextlib
import os
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import FileIO

from archipel.blobs.layout import hexadecimal
from archipel.blobs.pacing import Pacer
from archipel.node.settings import NodeSettings
from archipel.node.sharing import NotShared, Shared
from archipel.records.sources import Serving, chunk_bytes

MAX_HEAD_BYTES = 4096
HEAD_LIMIT_S = 20.0
"""Of a head, and of silence before one."""
HOLD_S = 20.0
"""An asked part that is still on its way is waited for so long."""
STALL_S = 20.0
"""A part of an answer is taken within this."""
END_LIMIT_S = 2.0
"""Of all connections, when the node leaves."""
PIECE_BYTES = 64 * 1024
MAX_CONNECTIONS = 128
MAX_PER_ADDRESS = 32

_ASKED = re.compile(
    rb"GET /blobs/(sha256:[0-9a-f]{64}) HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*?"
    rb"[Rr]ange: ?bytes=([0-9]{1,16})-([0-9]{1,16})\r\n(?:[^\r\n]+\r\n)*\r\n"
)
_WORDS = {
    206: "Partial Content", 400: "Bad Request", 404: "Not Found",
    416: "Range Not Satisfiable", 429: "Too Many Requests",
}  # fmt: skip


class BadHead(ValueError):
    """Words that no node of this kind says."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Bytes [start, stop) of a blob."""

    digest: str
    start: int
    stop: int


def read_head(data: bytes) -> Asked:
    """A request. Raises BadHead: it is another than those served here."""
    said = _ASKED.fullmatch(data)
    if said is None:
        raise BadHead("expected GET /blobs/sha256:... with one range of bytes")
    start, stop = int(said[2]), int(said[3]) + 1
    if stop <= start:
        raise BadHead(f"a range from {start} to before {stop} holds nothing")
    digest = said[1].decode()
    hexadecimal(digest)
    return Asked(digest, start, stop)


class BlobDoor:
    """Listens while the node works."""

    def __init__(self, shared: Shared, host: str, port: int, rate: int) -> None:
        """`rate`: bytes a second, to all together. `port`: 0 for any that is free."""
        self._shared = shared
        self._place = (host, port)
        self._pacer = Pacer(rate)
        self._open: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        """A connection each."""
        self._serving: Serving | None = None
        self._rate = rate
        self.sent = 0
        """Bytes of blobs."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listens meanwhile. Raises OSError: the address is taken, or not this machine's."""
        host, port = self._place
        try:
            self._server = await asyncio.start_server(
                self._serve, host, port, limit=MAX_HEAD_BYTES, backlog=MAX_CONNECTIONS
            )
        except OSError as error:
            # asyncio wraps the system's words in its own; a name that is not found has a negative number
            number = error.errno or 0
            said = os.strerror(number) if number > 0 else error.strerror or error
            raise OSError(
                f"cannot pass blobs on at {host} port {port}: {said}; choose another --serve-blobs"
            ) from None
        self._serving = Serving(port=self._server.sockets[0].getsockname()[1], rate=self._rate)
        try:
            yield
        finally:
            self._serving = None
            self._server.close()
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=END_LIMIT_S)

    @property
    def serving(self) -> Serving | None:
        """What the lab is told; None: it does not listen."""
        return self._serving

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        self._open[address] += 1
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            if self._open.total() > MAX_CONNECTIONS or self._open[address] > MAX_PER_ADDRESS:
                await self._say(writer, 429)
                return
            while await self._answered(reader, writer):
                pass
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it went, or was silent, or says too much: nobody here minds
        except asyncio.CancelledError:
            if self._serving is not None:  # else the door closes, and this is how a connection ends
                raise
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether another may follow."""
        async with asyncio.timeout(HEAD_LIMIT_S):
            head = await reader.readuntil(b"\r\n\r\n")
        try:
            asked = read_head(head)
            size = self._shared.size(asked.digest)
            if asked.stop > size or asked.stop - asked.start > chunk_bytes(size):
                await self._say(writer, 416)
                return False
            file = await self._shared.opened(asked.digest, asked.stop, HOLD_S)
        except BadHead:
            await self._say(writer, 400)
            return False
        except NotShared:
            await self._say(writer, 404)
            return True
        told = f"Content-Range: bytes {asked.start}-{asked.stop - 1}/{size}\r\n"
        await self._say(writer, 206, told, asked.stop - asked.start)
        with file:
            await asyncio.to_thread(file.seek, asked.start)
            return await self._gave(writer, file, asked.stop - asked.start)

    async def _gave(self, writer: asyncio.StreamWriter, file: FileIO, num_bytes: int) -> bool:
        """The next bytes of the file, at this node's pace; whether all of them were there."""
        while num_bytes > 0:
            piece = await asyncio.to_thread(file.read, min(num_bytes, PIECE_BYTES))
            if not piece:
                return False
            num_bytes -= len(piece)
            await self._pacer.pace(len(piece))
            writer.write(self.spoken(piece))
            await self._taken(writer)
            self.sent += len(piece)
        return True

    def spoken(self, piece: bytes) -> bytes:
        """A piece as it goes out; benchmarks have doors that lie here."""
        return piece

    async def _say(
        self, writer: asyncio.StreamWriter, status: int, told: str = "", length: int = 0
    ) -> None:
        words = f"HTTP/1.1 {status} {_WORDS[status]}\r\n{told}Content-Length: {length}\r\n\r\n"
        writer.write(words.encode())
        await self._taken(writer)

    async def _taken(self, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(STALL_S):
            await writer.drain()


def door_of(settings: NodeSettings, shared: Shared) -> BlobDoor | None:
    """None: this node only dials out."""
    if settings.serve_blobs is None:
        return None
    host, port = settings.serve_blobs
    return BlobDoor(shared, host, port, settings.serve_rate)
