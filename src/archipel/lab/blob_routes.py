"""Blobs over HTTP: ranges out, resumable streams in; who follows the lab to its store fetches large ones there.

An upload needs a signed offer (header `Archipel-Offer`): who sends which bytes for which lease. Bytes
are hashed on their way to the disk; what does not hash to its name is never kept.
"""

import asyncio
import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Annotated

from fastapi import FastAPI, Header, Request
from fastapi.responses import RedirectResponse, Response

from archipel.blobs import errors
from archipel.blobs.port import Reading, Writing
from archipel.lab import refusals
from archipel.lab.arrivals import open_record
from archipel.lab.description import BYTES_BODY, DOWNLOADS
from archipel.lab.downloads import OCTETS, BlobBytes, NotThere, part_of
from archipel.lab.lab import Lab
from archipel.lab.requests import to_its_end
from archipel.lab.traffic import Traffic
from archipel.lab.uploads import Permit
from archipel.records.documents import UploadState
from archipel.records.landing import DIRECT_BYTES, FOLLOWS
from archipel.records.statements import BlobOffered

MAX_OFFER_CHARACTERS = 8192
WRITE_AT_ONCE_BYTES = 256 * 1024
"""Of an upload, before they are hashed and written in a thread."""
READ_AT_ONCE_BYTES = 1024 * 1024
"""A file of this size is read faster than it is streamed through threads."""
BLOB_PATH = "/blobs/{digest}"
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable", "Accept-Ranges": "bytes"}
"""A name that is a hash never changes its meaning."""
UPLOAD_IDLE_LIMIT_S = 60.0
"""A sender that is silent this long is cut off; what it sent is kept for a resumed upload."""
FETCH_LIFE_S = 120
"""Of an address at which a blob is fetched: it must be asked within that time; what has begun goes on."""
MAX_FOLLOWS_CHARACTERS = 16

Offer = Annotated[str, Header(alias="Archipel-Offer", max_length=MAX_OFFER_CHARACTERS)]


def blob_routes(api: FastAPI, lab: Lab, traffic: Traffic) -> None:
    """Add them."""
    _downloads(api, lab, traffic)
    _uploads(api, lab)


def _downloads(api: FastAPI, lab: Lab, traffic: Traffic) -> None:
    @api.get(
        BLOB_PATH,
        summary="Download a blob; Range requests resume",
        response_class=Response,
        responses=DOWNLOADS,
    )
    async def download(
        digest: str,
        wanted: Annotated[str | None, Header(alias="Range")] = None,
        known: Annotated[str | None, Header(alias="If-Range")] = None,
        follows: Annotated[
            str | None, Header(alias=FOLLOWS, max_length=MAX_FOLLOWS_CHARACTERS)
        ] = None,
    ) -> Response:
        headers = IMMUTABLE | {"ETag": f'"{digest}"'}
        with _missing_is_unknown():
            size, file = lab.blobs.size(digest), lab.blobs.open(digest)
        with ExitStack() as held:
            held.enter_context(file)
            try:
                part = part_of(wanted if known in (None, headers["ETag"]) else None, size)
            except NotThere as error:
                raise refusals.NoSuchRange(str(error), size) from None
            if follows and size >= DIRECT_BYTES and lab.blobs.direct is not None:
                traffic.fetched.count(size if part is None else part.stop - part.start)
                return _elsewhere(lab.blobs.direct.address(digest, FETCH_LIFE_S))
            if size <= READ_AT_ONCE_BYTES and part is None:
                return Response(await _at_once(lab, file), media_type=OCTETS, headers=headers)
            held.pop_all()
        return BlobBytes(file, part, size, headers, lab.mesh)

    @api.head(
        BLOB_PATH,
        summary="Is the blob here?",
        response_class=Response,
        responses={200: {"content": {OCTETS: {}}}},
    )
    async def there(digest: str) -> Response:
        with _missing_is_unknown():
            length = {"Content-Length": str(lab.blobs.size(digest))}
        return Response(media_type=OCTETS, headers=IMMUTABLE | {"ETag": f'"{digest}"'} | length)


def _uploads(api: FastAPI, lab: Lab) -> None:
    @api.get(BLOB_PATH + "/state", summary="How much of an upload is here")
    async def upload_state(digest: str, offer: Offer) -> UploadState:
        offered, _ = offered_by(lab, digest, offer)
        if lab.blobs.keep(digest):
            return UploadState(complete=True, offset=offered.blob.size)
        return UploadState(complete=False, offset=lab.blobs.partial_offset(digest))

    @api.put(
        BLOB_PATH,
        summary="Upload a blob, or the rest of one",
        status_code=201,
        openapi_extra=BYTES_BODY,
    )
    async def upload(
        request: Request,
        digest: str,
        offer: Offer,
        offset: Annotated[int, Header(alias="Upload-Offset", ge=0)] = 0,
    ) -> UploadState:
        offered, permit = offered_by(lab, digest, offer)
        if not lab.blobs.keep(digest):
            writer = partial(
                lab.blobs.writer, digest, offered.blob.size, offset, privileged=permit.is_trusted
            )
            with lab.uploads.streaming(offered.work):
                await _receive(request, writer, permit.left_s)
        return UploadState(complete=True, offset=offered.blob.size)


def _elsewhere(url: str) -> Response:
    """No cache keeps it: it is over soon."""
    return RedirectResponse(url, headers={"Cache-Control": "no-store"})


async def _at_once(lab: Lab, file: Reading) -> bytes | None:
    """All of a small blob; one that is far away beside the event loop."""
    with _missing_is_unknown():
        return file.read() if lab.blobs.is_near else await to_its_end(file.read)


@contextmanager
def _missing_is_unknown() -> Iterator[None]:
    """What is not here is no trouble of the disk."""
    try:
        yield
    except (errors.BadDigest, errors.BlobMissing) as error:
        raise refusals.Unknown(str(error)) from None
    except errors.TooManyOpenFiles as error:
        raise refusals.Busy(str(error)) from None


async def _receive(
    request: Request, open_writer: Callable[[], Writing], left_s: float | None
) -> None:
    """Until it is whole, silent for too long, or of no use any more: its lease is over in `left_s`."""
    with refused():
        try:
            with await asyncio.to_thread(open_writer) as writer:
                async with asyncio.timeout(left_s):
                    await _fill(request, writer)
                await to_its_end(writer.commit)
        except TimeoutError:
            raise refusals.Refused(
                f"nothing came for {UPLOAD_IDLE_LIMIT_S:.0f} s, or the lease is over; resume later"
            ) from None


@contextmanager
def refused() -> Iterator[None]:
    """What the store says of bytes that come, as a refusal."""
    try:
        yield
    except errors.DigestMismatch as error:
        raise refusals.WrongDigest(str(error)) from None
    except errors.BlobTooLarge as error:
        raise refusals.TooLarge(str(error)) from None
    except errors.StorageFull as error:
        raise refusals.StorageExhausted(str(error)) from None
    except (errors.BlobBusy, errors.BlobIncomplete) as error:
        raise refusals.Conflict(str(error)) from None
    except errors.TooManyOpenFiles as error:
        raise refusals.Busy(str(error)) from None
    except (errors.StorageFailed, OSError) as error:
        raise refusals.StorageExhausted(f"the lab's disk cannot take it: {error}") from None


async def _fill(request: Request, writer: Writing) -> None:
    """Hashed and written beside the event loop, much at a time; what came is kept, however this ends."""
    stream, came = request.stream(), bytearray()
    try:
        while True:
            async with asyncio.timeout(UPLOAD_IDLE_LIMIT_S):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            came += chunk
            if len(came) >= WRITE_AT_ONCE_BYTES:
                data, came = bytes(came), bytearray()
                await to_its_end(partial(writer.write, data))
    finally:
        if came:
            await to_its_end(partial(writer.write, bytes(came)))


def offered_by(lab: Lab, digest: str, header: str) -> tuple[BlobOffered, Permit]:
    """The offer in this header, and what it permits. Raises Refused."""
    try:
        data = base64.b64decode(header, validate=True)
    except ValueError:  # binascii.Error, and a plain one for characters beyond ASCII
        raise refusals.Malformed("Archipel-Offer is not base64") from None
    _, offer = open_record(data)
    if not isinstance(offer, BlobOffered):
        raise refusals.Malformed(f"expected blob.offered, got {offer.kind}")
    if offer.lab != lab.identity.did:
        raise refusals.WrongLab(f"addressed to lab {offer.lab}, this is {lab.identity.did}")
    if offer.blob.digest != digest:
        raise refusals.WrongDigest(f"the offer is for {offer.blob.digest}, the upload for {digest}")
    return offer, lab.permit_upload(offer)
