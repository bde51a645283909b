"""Sending blobs to a lab: a large or interrupted one goes on where the lab says it stopped.

Whatever the lab has a landing for goes straight into its store, and to the lab itself if that fails.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from archipel.node.client import LabClient
from archipel.node.exchange import LabUnreachable
from archipel.node.lab_reader import FIRST_PAUSE_S, MAX_TRANSFER_ATTEMPTS
from archipel.node.landing import Rest, land
from archipel.records.documents import UploadState
from archipel.records.fields import BlobRef

CHUNK_BYTES = 1024 * 1024
JUST_SEND_BYTES = 1024 * 1024
"""Up to this size, asking what the lab has already costs more than sending it again."""


async def send(client: LabClient, rest: Rest, blob: BlobRef, work: str | None) -> None:
    """Upload `blob` for lease `work`, or, without one, for a run that is to be opened.

    Raises:
        LabUnreachable, LabRefused: from the lab.
    """
    headers = client.offer(blob, work)
    for attempt in range(MAX_TRANSFER_ATTEMPTS):
        try:
            offset = 0
            if attempt or blob.size > JUST_SEND_BYTES:
                path = f"/blobs/{blob.digest}/state"
                state = await client.read(UploadState, path, headers=headers)
                if state.complete:
                    return
                offset = state.offset
                if not (attempt or offset) and await land(client, rest, blob, headers):
                    client.bytes_up += blob.size
                    return
            await client.put(blob, {**headers, "Upload-Offset": str(offset)}, rest(offset))
        except LabUnreachable:
            if attempt == MAX_TRANSFER_ATTEMPTS - 1:
                raise
            await asyncio.sleep(FIRST_PAUSE_S * 2**attempt)
        else:
            client.bytes_up += blob.size - offset
            return


async def send_file(client: LabClient, path: Path, blob: BlobRef) -> None:
    """Upload a file for a run that is to be opened."""
    await send(client, lambda offset: _chunks(path, offset), blob, None)


async def send_bytes(client: LabClient, data: bytes, blob: BlobRef) -> None:
    """Upload bytes at hand, likewise."""
    await send(client, lambda offset: data[offset:], blob, None)


async def _chunks(path: Path, offset: int) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
