"""Records in, leases out: the two routes that nodes live by.

A body is an envelope by itself, or a parcel: a document and small blobs beside it (`records.parcel`).
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response

from archipel.identity import MAX_ENVELOPE_BYTES
from archipel.lab import node_pauses, refusals
from archipel.lab.arrivals import author_of, is_work
from archipel.lab.description import signed_body
from archipel.lab.doorman import Doorman
from archipel.lab.doors import is_door
from archipel.lab.handouts import Outgoing, Receipt
from archipel.lab.lab import MAX_WAIT_S, Lab
from archipel.lab.lanes import Lane
from archipel.lab.mesh import Heard
from archipel.lab.requests import address_of, bounded_body, host_of, while_connected
from archipel.records import documents, parcel
from archipel.records.document import BadDocument, Document, read_document

PARCEL_ANSWER: dict[int | str, dict[str, Any]] = {200: {"content": {parcel.MEDIA_TYPE: {}}}}

D = TypeVar("D", bound=Document)


_NO_QUERY = re.compile(rb"")
_WAIT_QUERY = re.compile(rb"(?:wait_s=(?P<wait_s>(?:[0-5]?[0-9])(?:\.[0-9]{1,6})?))?")
DEFAULT_WAIT_S = 20.0


def record_routes(
    api: FastAPI, lab: Lab, doorman: Doorman
) -> Mapping[str, tuple[re.Pattern[bytes], Lane]]:
    """Add them; returns their short ways (`lanes`)."""

    @api.post(
        "/records",
        summary="Submit a signed statement, with the small blobs it names and the next request",
        response_model=documents.Receipt,
        responses=PARCEL_ANSWER,
        openapi_extra=signed_body(documents.Submitted),
    )
    async def submit(request: Request) -> Response:
        return await _submitted(lab, doorman, request)

    @api.post(
        "/leases",
        summary="Ask for work (signed lease.requested); long poll",
        response_model=documents.Handout,
        responses=PARCEL_ANSWER | {204: {"description": "Nothing to do now"}},
        openapi_extra=signed_body(documents.Asked),
    )
    async def lease(
        request: Request, wait_s: Annotated[float, Query(ge=0, le=MAX_WAIT_S)] = DEFAULT_WAIT_S
    ) -> Response:
        return await _leased(lab, doorman, request, wait_s)

    async def submit_lane(request: Request, _: Mapping[str, str]) -> Response:
        return await submit(request)

    async def lease_lane(request: Request, query: Mapping[str, str]) -> Response:
        return await lease(request, float(query.get("wait_s", DEFAULT_WAIT_S)))

    return {"/records": (_NO_QUERY, submit_lane), "/leases": (_WAIT_QUERY, lease_lane)}


async def _submitted(lab: Lab, doorman: Doorman, request: Request) -> Response:
    document, blobs = await _body(request)
    asked = _read(documents.Submitted, document) if blobs is not None else None
    record = document if asked is None else asked.record.encode()
    _let_in(lab, doorman, record, address_of(request), is_idle=not is_work(record))
    following = None
    if asked is not None and asked.next is not None:
        have = Heard.of(asked.next.have, host_of(request))
        following = (asked.next.request.encode(), have)
    return _receipt(await lab.submit(record, blobs or (), following))


async def _leased(lab: Lab, doorman: Doorman, request: Request, wait_s: float) -> Response:
    document, blobs = await _body(request)
    asked = _read(documents.Asked, document) if blobs is not None else None
    record = document if asked is None else asked.request.encode()
    address = address_of(request)
    _let_in(lab, doorman, record, address, is_idle=False)
    doorman.begin_waiting(address)
    try:
        have = None if asked is None else Heard.of(asked.have, host_of(request))
        out = await while_connected(request, lab.lease(record, wait_s, have))
    finally:
        doorman.end_waiting(address)
    if out is None:
        node_pauses.tell(lab.ahead, author_of(record))
        return Response(status_code=204)
    return _parcel(out.handout.model_dump_json().encode(), out)


async def _body(request: Request) -> tuple[bytes, list[bytes] | None]:
    """(document, blobs); blobs are None when the body is an envelope by itself."""
    is_parcel = request.headers.get("content-type") == parcel.MEDIA_TYPE
    limit = parcel.MAX_PARCEL_BYTES if is_parcel else MAX_ENVELOPE_BYTES
    body = await bounded_body(request, limit)
    if not is_parcel:
        return body, None
    try:
        return parcel.unpack_parcel(body)
    except parcel.BadParcel as error:
        raise refusals.Malformed(str(error)) from None


def _read(kind: type[D], data: bytes) -> D:
    try:
        return read_document(kind, data)
    except BadDocument as error:
        raise refusals.Malformed(str(error)) from None


def _let_in(lab: Lab, doorman: Doorman, record: bytes, address: str, *, is_idle: bool) -> None:
    """Cheap, before any signature is checked: a liar about its name uses up its own address."""
    author = author_of(record)
    is_operator = author in lab.ahead.operators
    is_known = is_operator or author in lab.ahead.nodes or author in lab.ahead.providers
    if not is_operator and (is_idle or not is_known) and is_door(lab.ahead, author):
        is_known, is_idle = True, False
    is_idle = is_idle and not is_operator
    doorman.statement(author, address, is_newcomer=not is_known, is_idle=is_idle)


def _receipt(receipt: Receipt) -> Response:
    recorded, out = receipt.recorded, receipt.next
    document = documents.Receipt(
        index=recorded.last,
        head=recorded.head.note.decode(),
        handout=None if out is None else out.handout,
    )
    if out is None:
        return Response(document.model_dump_json(), media_type="application/json")
    return _parcel(document.model_dump_json().encode(), out)


def _parcel(document: bytes, out: Outgoing) -> Response:
    return Response(parcel.pack_parcel(document, out.blobs), media_type=parcel.MEDIA_TYPE)
