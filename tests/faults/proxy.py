"""A bad network: a TCP relay to a lab that spoils connections as a seed says, up to a number of faults.

It runs its own loop in a thread. Each new connection draws: nothing, or one fault at a byte that the seed
draws; once `most` faults took effect, all is well, so that what can recover does.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

CHUNK_BYTES = 16_384
START_LIMIT_S = 10.0
HALF_OPEN_S = 6.0
"""A connection that goes silent stays so for this long, then it is reset."""
SPOILING = {
    "cut": 5,
    "reset": 5,
    "truncate": 4,
    "garble": 6,
    "repeat": 3,
    "delay": 4,
    "drip": 2,
    "half-open": 1,
}
KEPT_WHOLE = {kind: odds for kind, odds in SPOILING.items() if kind not in ("garble", "repeat")}
"""Of a protocol without signatures, whose bytes nothing but TLS keeps as they are."""
SPOILT_SHARE = 0.6
"""Of all connections, while there are faults left."""
FARTHEST_BYTE = 30_000
_RESET = struct.pack("ii", 1, 0)


@dataclass
class _Plan:
    """What happens to one connection."""

    kind: str
    at: int
    """Bytes in the spoilt direction before it happens."""
    upwards: bool
    seconds: float
    done: bool = False


class BadNetwork:
    """Relays 127.0.0.1:`port` to a lab's port; starts with `open`, ends with `close`."""

    def __init__(
        self, target: int, seed: str, most: int, kinds: Mapping[str, int] = SPOILING
    ) -> None:
        """kinds: what may happen to a connection -> how likely."""
        self.port = 0
        self.faults: Counter[str] = Counter()
        """What took effect."""
        self._target = target
        self._rng = random.Random(seed)
        self._most = most
        self._kinds = dict(kinds)
        self._whole = asyncio.Event()
        self._whole.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._relays: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Listen."""
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._accepted, "127.0.0.1", 0), self._loop
        )
        self._server = starting.result(START_LIMIT_S)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Cut all, end the thread."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(START_LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_LIMIT_S)
        self._loop.close()

    def part(self) -> None:
        """Nothing gets through any more, in either direction; nobody is told."""
        self._loop.call_soon_threadsafe(self._whole.clear)
        self.faults["partition"] += 1

    def heal(self) -> None:
        """What was held back goes on."""
        self._loop.call_soon_threadsafe(self._whole.set)

    def calm(self) -> None:
        """No more faults than there were."""
        self._most = 0
        self.heal()

    async def _end(self) -> None:
        self._server.close()
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)
        await asyncio.sleep(0)  # whoever was just let in
        for relay in self._relays:
            relay.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def _drawn(self) -> _Plan | None:
        rng = self._rng
        if sum(self.faults.values()) >= self._most or rng.random() > SPOILT_SHARE:
            return None
        (kind,) = rng.choices(list(self._kinds), list(self._kinds.values()))
        at = int(FARTHEST_BYTE ** rng.uniform(0.2, 1.0))  # most messages are small
        return _Plan(kind, at, rng.random() < 0.5, rng.uniform(0.1, 1.5))

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        try:
            await self._relay(reader, writer, self._drawn())
        except (OSError, asyncio.CancelledError):
            pass  # either end went away, as ends do
        finally:
            writer.transport.abort()
            self._relays.discard(task)

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, plan: _Plan | None
    ) -> None:
        await self._whole.wait()
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        ways = [
            asyncio.create_task(
                self._pump(reader, far_writer, plan if plan and plan.upwards else None)
            ),
            asyncio.create_task(
                self._pump(far_reader, writer, plan if plan and not plan.upwards else None)
            ),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            if plan is not None and plan.done and plan.kind == "half-open":
                await asyncio.sleep(HALF_OPEN_S)
        finally:
            for way in ways:
                way.cancel()
            try:
                await asyncio.gather(*ways, return_exceptions=True)
            finally:  # it may be ended here, too
                for each in (writer, far_writer):
                    self._shut(each, plan)

    def _shut(self, writer: asyncio.StreamWriter, plan: _Plan | None) -> None:
        if plan is not None and plan.done and plan.kind == "truncate":
            with contextlib.suppress(OSError):
                writer.close()  # in order, and too early
            return
        if plan is not None and plan.done and plan.kind == "reset":
            taken = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, plan: _Plan | None
    ) -> None:
        seen = 0
        while data := await reader.read(CHUNK_BYTES):
            if plan is not None and not plan.done and seen + len(data) > plan.at:
                spoilt = await self._spoilt(data, plan.at - seen, plan)
                if spoilt is None:
                    return
                data = spoilt
            seen += len(data)
            await self._whole.wait()
            if plan is not None and plan.done and plan.kind == "drip":
                await _dripped(writer, data)
            else:
                writer.write(data)
                await writer.drain()
            if plan is not None and plan.done and plan.kind in ("cut", "reset", "truncate"):
                return

    async def _spoilt(self, data: bytes, at: int, plan: _Plan) -> bytes | None:
        """What of `data` goes on, with the fault at byte `at`; None: nothing, ever."""
        plan.done = True
        self.faults[f"{plan.kind} {'up' if plan.upwards else 'down'}"] += 1
        if plan.kind in ("cut", "reset", "truncate"):
            return data[:at]
        if plan.kind == "garble":
            return data[:at] + bytes([data[at] ^ (1 << self._rng.randrange(8))]) + data[at + 1 :]
        if plan.kind == "repeat":
            return data[: at + 1] + data[max(at - 20, 0) :]
        if plan.kind == "half-open":
            return None
        await asyncio.sleep(plan.seconds)
        return data


async def _dripped(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Byte by byte at first, then in small pieces."""
    for start in range(min(len(data), 20)):
        writer.write(data[start : start + 1])
        await writer.drain()
        await asyncio.sleep(0.02)
    if len(data) > 20:
        writer.write(data[20:])
        await writer.drain()
