"""A witness's HTTP door: one path, bounded in every way, by uvicorn. Source: c2sp.org/tlog-witness."""

import asyncio

import uvicorn
from fastapi import FastAPI, Request, Response

from archipel.connections import Server
from archipel.ledger.storage import LedgerError
from archipel.ledger.witness import MAX_REQUEST_BYTES, Reply, Witness

BODY_LIMIT_S = 10.0
"""A request is here whole within this."""
MAX_AT_ONCE = 64
UNAVAILABLE, TOO_LARGE, TOO_SLOW = 503, 413, 408


def witness_app(witness: Witness) -> FastAPI:
    """The application."""
    api = FastAPI(title="Archipel witness", docs_url=None, redoc_url=None, openapi_url=None)

    @api.post("/add-checkpoint")
    async def add_checkpoint(request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_LIMIT_S):
                body = await _body(request)
        except TimeoutError:
            return _response(Reply(TOO_SLOW, f"expected the request within {BODY_LIMIT_S:.0f} s\n"))
        if body is None:
            return _response(Reply(TOO_LARGE, f"expected at most {MAX_REQUEST_BYTES} bytes\n"))
        try:
            return _response(await asyncio.to_thread(witness.add, body))
        except LedgerError as error:
            return _response(Reply(UNAVAILABLE, f"{error}\n"))

    return api


def witness_server(witness: Witness, host: str, port: int) -> Server:
    """A server for it, to be run or awaited; it ends on Ctrl-C."""
    config = uvicorn.Config(
        witness_app(witness),
        host=host,
        port=port,
        log_level="warning",
        limit_concurrency=MAX_AT_ONCE,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    return Server(config)


async def _body(request: Request) -> bytes | None:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_REQUEST_BYTES:
            return None
    return bytes(data)


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, media_type=reply.media_type)
