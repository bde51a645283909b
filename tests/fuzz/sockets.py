"""`make fuzz`, below HTTP: odd heads, ranges, lengths and offsets, and uploads that race, are cut or lie.

Every input is drawn by its seed and goes over a socket to a lab behind its real parser. Law: no answer is a
5xx, no connection hangs, and whoever sends the right bytes gets them in, whatever others send under their name.
"""

import asyncio
import random
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from door import Door
from fuzz.openapi import OPEN_DOOR, world_at_work
from fuzz.spoiling import spoilt
from live import live
from people import ref
from world import World

LIMIT_S = 20.0
"""For one answer."""
PATIENCE_S = 0.3
TRIES = 200
"""Until the right bytes are in: the others end before."""
RANGES = (
    *(
        "bytes=0-",
        "bytes=-1",
        "bytes=5-2",
        "bytes=99-",
        "bytes=0-0,2-3",
        "lines=1-2",
        "bytes=",
        "bytes=-",
    ),
    *("bytes=-0", "bytes=" + "9" * 30 + "-", "bytes=0-" + "9" * 19, "bytes= 1 - 2", "\xff", ""),
)
HEADERS = (
    *(
        "Content-Length: -1",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: " + "9" * 30,
    ),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Expect: 100-continue"),
    *("Upload-Offset: 1", "Upload-Offset: -1", "Upload-Offset: " + "9" * 40, "Upload-Offset: x"),
    *(
        "Archipel-Offer: e30=",
        "Archipel-Offer: " + "A" * 9000,
        "Accept-Encoding: gzip",
        "Host: \x00",
    ),
    *(
        "Connection: close",
        "Upgrade: websocket\r\nConnection: Upgrade",
        "If-Range: W/x",
        "A" * 500 + ": b",
    ),
    *("Content-Type: application/vnd.archipel.parcel.v1", "Content-Type: \xff", "X: \ud83d\ude00"),
)
PATHS = (
    *(
        "/runs",
        "/runs/run",
        "/runs/%00",
        "/runs/..%2f..",
        "/blobs/%ff",
        "/records",
        "/leases?wait_s=0",
    ),
    *(
        "/ledger/entries?start=1&start=x",
        "/nodes?all=" + "1" * 99,
        "//",
        "/healthz?",
        "*",
        "http://x/",
    ),
)
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "get", "PRI", "G\x01T")


async def answered(url: str, parts: Sequence[bytes], *, is_cut: bool = False) -> int | None:
    """The status of what came back for these bytes; None: nothing did, the connection was closed.

    Raises:
        TimeoutError: neither an answer nor an end.
    """
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(LIMIT_S):
            with suppress(OSError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
                if is_cut:
                    writer.transport.abort()
                    return None
            with suppress(OSError):
                words = (await _line(reader, writer)).split()
                return int(words[1]) if len(words) > 1 and words[1].isdigit() else None
            return None
    finally:
        writer.transport.abort()


async def _line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The first of the answer; whoever sent half a request says so after a while, and is let go."""
    reading = asyncio.ensure_future(reader.readline())
    await asyncio.wait({reading}, timeout=PATIENCE_S)
    if not reading.done():
        writer.write_eof()
    return await reading


async def odd_request(url: str, world: World, random_: random.Random) -> str | None:
    """Some request of some form, at times spoilt; what is wrong with the answer."""
    blob = f"/blobs/{random_.choice(world.blobs.digests())}"
    path = blob if random_.random() < 0.4 else random_.choice(PATHS)
    method = "GET" if random_.random() < 0.5 else random_.choice(METHODS)
    lines = [f"{method} {path} HTTP/1.{random_.choice('11113')}", "Host: lab"]
    lines += random_.sample(HEADERS, random_.choice((0, 0, 1, 3)))
    if random_.random() < 0.5:
        lines.append(f"Range: {random_.choice(RANGES)}")
    head = "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n\r\n"
    data = head + random_.randbytes(random_.choice((0, 0, 0, 5, 3000)))
    if random_.random() < 0.2:
        data = spoilt(random_, [data])
    status = await answered(url, _parts(random_, data), is_cut=random_.random() < 0.1)
    return f"{data[:200]!r} got {status}" if status is not None and status >= 500 else None


async def racing_uploads(url: str, world: World, random_: random.Random) -> str | None:
    """One blob by several at once: whole, cut off, of other bytes, too short, too long, from an offset."""
    data = random_.randbytes(random_.choice((1, 50, 5000, 300_000)))
    path = f"/blobs/{ref(data).digest}"
    door = _OFFERS.setdefault(id(world), Door(world))
    offer = door.offer(world.operator, data, None)["Archipel-Offer"]

    def put(
        body: bytes, length: int, offset: int = 0, **how: Any
    ) -> Coroutine[Any, Any, int | None]:
        head = f"PUT {path} HTTP/1.1\r\nHost: lab\r\nArchipel-Offer: {offer}\r\n"
        head += f"Upload-Offset: {offset}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        return answered(url, _parts(random_, head.encode() + body), **how)

    size, half = len(data), len(data) // 2
    rivals: list[Callable[[], Coroutine[Any, Any, int | None]]] = [
        lambda: put(data[:half], size, is_cut=True),
        lambda: put(data[:half], half),
        lambda: put(bytes(size), size),
        lambda: put(data + b"x", size + 1),
        lambda: put(data[half:], size - half, half),
        lambda: put(data, size),
    ]
    chosen = [random_.choice(rivals)() for _ in range(random_.randrange(1, 4))]
    statuses = await asyncio.gather(*chosen, put(data, size))
    for _ in range(TRIES):
        if 201 in statuses and world.blobs.exists(ref(data).digest):
            break
        await asyncio.sleep(0.01)
        statuses.append(await put(data, size))
    bad = [status for status in statuses if status is not None and status >= 500]
    if bad or 201 not in statuses:
        return f"uploads of {size} bytes got {statuses[:8]}"
    kept = world.blobs.read_bytes(ref(data).digest, size)
    return None if kept == data else f"{size} bytes came in as {len(kept)} others"


_OFFERS: dict[int, Door] = {}


def _parts(random_: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(random_.randrange(len(data) + 1) for _ in range(random_.randrange(4)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def failures(folder: Path, seeds: Sequence[int]) -> list[str]:
    """What these seeds find; each failure by its seed."""
    world = world_at_work(folder)
    found: list[str] = []

    async def story() -> None:
        async with live(world, limits=OPEN_DOOR) as url:
            for seed in seeds:
                random_ = random.Random(seed)
                kind = racing_uploads if random_.random() < 0.3 else odd_request
                try:
                    what = await kind(url, world, random_)
                except TimeoutError:
                    what = f"no answer in {LIMIT_S:.0f} s"
                found.extend([] if what is None else [f"seed {seed}: {what}"])
            ok = await answered(url, [b"GET /healthz HTTP/1.1\r\nHost: lab\r\n\r\n"])
            found.extend([] if ok == 200 else [f"the lab's health is {ok} at the end"])

    try:
        world.await_(story())
        world.check_replay()
        if world.blobs.used().partial_bytes:
            world.blobs.sweep(lambda _: True, now_s=2e12, older_than_s=0, idle_s=0)
        found.extend(
            ["bytes are counted that are not there"] * bool(world.blobs.used().partial_bytes)
        )
        return found
    finally:
        door = _OFFERS.pop(id(world), None)
        if door is not None:
            door.close()
        world.close()


@click.command()
@click.option("--seeds", default=2000, show_default=True, type=click.IntRange(0))
@click.option("--first", default=0, show_default=True, type=click.IntRange(0))
def session(seeds: int, first: int) -> None:
    """Try so many odd requests and races."""
    with tempfile.TemporaryDirectory() as folder:
        found = failures(Path(folder), range(first, first + seeds))
    click.echo(f"a lab's socket: {seeds} inputs, {len(found)} failures")
    for each in found:
        click.echo(each)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    session()
