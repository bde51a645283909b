"""A blob's bytes on their way out: whole, or the one range that was asked for (RFC 9110, section 14).

Law: the file is open before the first word of the answer, so a sweep cannot cut it short; it is closed
however the answer ends. A range that is not one of bytes, or is several, is passed over as the RFC allows:
the whole blob is the answer, and its status says so.
"""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from archipel.blobs.port import Reading
from archipel.lab.mesh import Mesh
from archipel.lab.requests import to_its_end

OCTETS = "application/octet-stream"
READ_BYTES = 256 * 1024
"""At a time, in a thread."""
_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,19})-([0-9]{0,19})[ \t]*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes [start, stop) of a blob."""

    start: int
    stop: int
    size: int
    """Of the whole blob."""

    @property
    def headers(self) -> dict[str, str]:
        """What says which part it is."""
        return {"Content-Range": f"bytes {self.start}-{self.stop - 1}/{self.size}"}


class NotThere(ValueError):
    """The range begins where the blob has ended already."""


def part_of(header: str | None, size: int) -> Part | None:
    """The part that a Range header asks for; None: the whole blob is the answer.

    Raises:
        NotThere: not one byte of it lies inside a blob of this size.
    """
    said = None if header is None else _RANGE.fullmatch(header)
    if said is None or not (said[1] or said[2]):
        return None
    if not said[1]:  # the last so many bytes
        start, stop = max(size - int(said[2]), 0), size
    else:
        start = int(said[1])
        stop = min(int(said[2]) + 1, size) if said[2] else size
        if said[2] and int(said[2]) < start:
            return None  # not a range at all
    if start >= stop:
        raise NotThere(f"the blob has {size} bytes, and the range {header!r:.80} none of them")
    return Part(start, stop, size)


class BlobBytes(StreamingResponse):
    """The answer; the file is its own."""

    def __init__(
        self, file: Reading, part: Part | None, size: int, headers: dict[str, str], mesh: Mesh
    ) -> None:
        """`part`: None for all `size` bytes. `mesh`: keeps the pace of all of them, and measures it."""
        self._file, self._pacer, self._meter = file, mesh.pacer, mesh.meter
        start, self._left = (0, size) if part is None else (part.start, part.stop - part.start)
        file.seek(start)
        told = (
            headers | {"Content-Length": str(self._left)} | ({} if part is None else part.headers)
        )
        status = 200 if part is None else 206
        super().__init__(self._chunks(), status, told, media_type=OCTETS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        with self._file, self._meter.sending():
            await super().__call__(scope, receive, send)

    async def _chunks(self) -> AsyncIterator[bytes]:
        while self._left > 0:
            data = await to_its_end(lambda: self._file.read(min(READ_BYTES, self._left)))
            if not data:
                return  # the server notices that the body is too short, and cuts the connection
            self._left -= len(data)
            await self._pacer.pace(len(data))
            yield data
            self._meter.count(len(data))
