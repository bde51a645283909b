"""Sending a blob straight into the store of a lab, where the lab has a landing for it.

Law: whatever goes wrong there, the caller sends the bytes to the lab itself.
"""

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

from archipel.blobs.layout import hexadecimal
from archipel.blobs.s3_direct import CHECKSUM
from archipel.node.client import JSON, LabClient
from archipel.node.direct import StoreFailed
from archipel.node.exchange import LabRefused
from archipel.records.documents import UploadState
from archipel.records.fields import BlobRef
from archipel.records.landing import DIRECT_BYTES, Landed, Landing, LandingPart

Rest = Callable[[int], bytes | AsyncIterator[bytes]]
"""The bytes from an offset on."""
LOOK_RATE = 4 * 1024 * 1024
"""Bytes a second that a lab reads of what landed, at the least; then its looking is waited for no more."""
LOOK_LIMIT_S = 120.0
LOOK_PAUSE_S = 1.0
NO_LANDINGS = frozenset({"no-landing", "http-error", "unexpected-answer"})
"""What a lab says that has none, or knows of none."""


async def land(client: LabClient, rest: Rest, blob: BlobRef, offer: Mapping[str, str]) -> bool:
    """Whether the blob is at the lab now; else its bytes are still to be sent to the lab itself.

    Args:
        client: of the lab.
        rest: the blob's bytes.
        blob: which.
        offer: the header that permits its upload.

    Raises:
        LabUnreachable: from the lab.
    """
    if blob.size < DIRECT_BYTES or not (client.direct.is_on and client.direct.lands):
        return False
    path = f"/blobs/{blob.digest}/landing"
    try:
        landing = await client.read(Landing, path, "POST", headers=dict(offer))
    except LabRefused as error:  # its own door says why
        client.direct.lands = error.problem not in NO_LANDINGS
        return False
    try:
        tags = await _put(client, rest, blob, landing)
        return await _looked_at(client, f"{path}/{landing.name}", blob, offer, tags)
    except StoreFailed:
        return False
    except LabRefused as error:
        client.direct.failed(str(error))
        return False


async def _looked_at(
    client: LabClient, path: str, blob: BlobRef, offer: Mapping[str, str], tags: tuple[str, ...]
) -> bool:
    """Whether the lab found the bytes where they landed."""
    said, headers = Landed(tags=tags).model_dump_json().encode(), {**offer, **JSON}
    end_s = time.monotonic() + LOOK_LIMIT_S + blob.size / LOOK_RATE
    while time.monotonic() < end_s:
        state = await client.read(UploadState, path, "POST", headers=headers, content=said)
        if state.complete:
            return True
        await asyncio.sleep(LOOK_PAUSE_S)
    return False


async def _put(client: LabClient, rest: Rest, blob: BlobRef, landing: Landing) -> tuple[str, ...]:
    """What the store calls each part. Raises StoreFailed: it took not all, or the parts are not the blob's."""
    spans = [(part.start, part.stop) for part in landing.parts]
    ends = [0, *(stop for _, stop in spans)]
    is_all = all(start == end for (start, _), end in zip(spans, ends, strict=False))
    if not is_all or ends[-1] != blob.size or ends != sorted(ends):
        raise StoreFailed("the landing's parts are not the blob's")
    headers = {}
    if landing.is_hashed:
        digest = bytes.fromhex(hexadecimal(blob.digest))
        headers = {CHECKSUM: base64.b64encode(digest).decode("ascii")}
    tags = []
    for part in landing.parts:
        size = part.stop - part.start
        tags.append(await client.direct.put(part.url, size, headers, _bytes_of(rest, part)))
    if landing.is_hashed:
        return ()
    if not all(tags):
        raise StoreFailed("the store gave a part no name")
    return tuple(tags)


async def _bytes_of(rest: Rest, part: LandingPart) -> AsyncIterator[bytes]:
    """Of one part alone."""
    given, left = rest(part.start), part.stop - part.start
    if isinstance(given, bytes):
        yield given[:left]
        return
    try:
        async for data in given:
            yield data[:left]
            left -= len(data[:left])
            if left == 0:
                return
    finally:
        if isinstance(given, AsyncGenerator):
            await given.aclose()
