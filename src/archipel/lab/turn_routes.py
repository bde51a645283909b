"""Turns over HTTP: nodes ask, trusted roles ask for questions and answer them. Bodies are parcels."""

from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response

from archipel.identity import MAX_ENVELOPE_BYTES
from archipel.lab import refusals
from archipel.lab.arrivals import author_of
from archipel.lab.description import parcel_body
from archipel.lab.doorman import Doorman
from archipel.lab.lab import MAX_WAIT_S, Lab
from archipel.lab.requests import address_of, bounded_body, while_connected
from archipel.lab.turns import Told
from archipel.records import parcel, turns

ANSWER: dict[int | str, dict[str, Any]] = {200: {"content": {parcel.MEDIA_TYPE: {}}}}
NOTHING: dict[int | str, dict[str, Any]] = {204: {"description": "No question now"}}
WaitS = Annotated[float, Query(ge=0, le=MAX_WAIT_S)]
DEFAULT_WAIT_S = 20.0


def turn_routes(api: FastAPI, lab: Lab, doorman: Doorman) -> None:
    """Add them."""

    @api.post(
        "/turns",
        summary="Ask what follows turns of a lease (signed turns.asked, and what was said); long poll",
        response_model=turns.TurnsAnswer,
        responses=ANSWER,
        openapi_extra=parcel_body("turns.asked in its envelope, and the list of turns beside it"),
    )
    async def ask(request: Request, wait_s: WaitS = DEFAULT_WAIT_S) -> Response:
        record, blobs = await _body(request)
        waiting = lab.turns.ask(record, blobs, wait_s)
        told = await _waited(lab, doorman, request, record, waiting)
        return _parcel(told) if told is not None else Response(status_code=204)

    @api.post(
        "/turns/next",
        summary="Ask for questions that wait for a trusted role (signed turns.awaited); long poll",
        response_model=turns.Question,
        responses=ANSWER | NOTHING,
        openapi_extra=parcel_body("turns.awaited in its envelope"),
    )
    async def following(request: Request, wait_s: WaitS = DEFAULT_WAIT_S) -> Response:
        record, _ = await _body(request)
        found = await _waited(lab, doorman, request, record, lab.turns.next(record, wait_s))
        return _parcel(found) if found is not None else Response(status_code=204)

    @api.post(
        "/turns/told",
        summary="Answer a question (signed turns.told, and the replies)",
        status_code=204,
        response_class=Response,
        openapi_extra=parcel_body("turns.told in its envelope, and the list of replies beside it"),
    )
    async def tell(request: Request) -> Response:
        record, blobs = await _body(request)
        _let_in(lab, doorman, record, address_of(request))
        lab.turns.tell(record, blobs)
        return Response(status_code=204)


async def _waited(
    lab: Lab,
    doorman: Doorman,
    request: Request,
    record: bytes,
    waiting: Coroutine[Any, Any, Told | None],
) -> Told | None:
    """What `waiting` brings, as long as somebody waits for it."""
    address = address_of(request)
    try:
        _let_in(lab, doorman, record, address)
        doorman.begin_waiting(address)
    except refusals.Refused:
        waiting.close()
        raise
    try:
        told: Told | None = await while_connected(request, waiting)
    finally:
        doorman.end_waiting(address)
    return told


async def _body(request: Request) -> tuple[bytes, list[bytes]]:
    """(envelope, what came beside it)."""
    if request.headers.get("content-type") != parcel.MEDIA_TYPE:
        raise refusals.Malformed(f"turns come as {parcel.MEDIA_TYPE}")
    try:
        record, blobs = parcel.unpack_parcel(await bounded_body(request, parcel.MAX_PARCEL_BYTES))
    except parcel.BadParcel as error:
        raise refusals.Malformed(str(error)) from None
    if len(record) > MAX_ENVELOPE_BYTES:
        raise refusals.TooLarge(f"an envelope of {len(record)} bytes")
    return record, blobs


def _let_in(lab: Lab, doorman: Doorman, record: bytes, address: str) -> None:
    author = author_of(record)
    is_known = author in lab.ahead.operators or author in lab.ahead.nodes
    doorman.statement(author, address, is_newcomer=not is_known, is_idle=False)


def _parcel(told: Told) -> Response:
    document = told.document.model_dump_json().encode()
    return Response(parcel.pack_parcel(document, told.beside), media_type=parcel.MEDIA_TYPE)
