"""The lab's HTTP door: routes to and from records; refusals become RFC 9457 problem documents.

Law: nothing is decided here. Bodies are read with a bound before they are believed.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from archipel import __version__
from archipel.identity import MAX_ENVELOPE_BYTES
from archipel.lab import explain, views
from archipel.lab.background import background
from archipel.lab.blob_routes import blob_routes
from archipel.lab.lab import Lab
from archipel.lab.metrics import prometheus_text
from archipel.lab.refusals import Refused, TooLarge, Unknown
from archipel.lab.state import Run

MAX_ENTRIES_PER_PAGE = 1000
PROBLEM_TYPE = "https://archipel.invalid/problems/"
"""Problem types are names, not pages; `.invalid` promises that nobody will ever fetch one."""
RUN_PATH = "/runs/{name}"

T = TypeVar("T")


def make_api(lab: Lab) -> FastAPI:
    """The application; its OpenAPI description is served at /openapi.json."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with background(lab.watch_deadlines()):
            yield

    api = FastAPI(
        title="Archipel lab",
        version=__version__,
        summary="Records in, leases out, blobs both ways; state is a fold over the ledger.",
        lifespan=lifespan,
    )
    api.add_exception_handler(Refused, _refused)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _http_error)
    api.add_exception_handler(ClientDisconnect, _hung_up)
    _record_routes(api, lab)
    _run_routes(api, lab)
    _ledger_routes(api, lab)
    _status_routes(api, lab)
    blob_routes(api, lab)
    return api


def problem(kind: str, status: int, detail: str) -> JSONResponse:
    """A problem document (RFC 9457)."""
    body = {
        "type": PROBLEM_TYPE + kind,
        "title": kind.replace("-", " "),
        "status": status,
        "detail": detail,
    }
    return JSONResponse(body, status_code=status, media_type="application/problem+json")


async def bounded_body(request: Request, limit: int) -> bytes:
    """The body, or TooLarge as soon as it exceeds `limit` bytes."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"the body is larger than {limit} bytes")
    return bytes(body)


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None, and an end to it, once nobody waits for the answer any more.

    The request's body must have been read.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not working.done():
            working.cancel()
    return working.result() if working.done() else None


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)  # noqa: S101  registered for nothing else
    return problem(error.problem, error.status, str(error))


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for nothing else
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return problem("invalid-request", 422, f"{where}: {first['msg']}")


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for nothing else
    return problem("http-error", error.status_code, str(error.detail))


async def _hung_up(_: Request, error: Exception) -> JSONResponse:
    return problem("disconnected", 400, "the sender hung up; resume where the upload stopped")


def _record_routes(api: FastAPI, lab: Lab) -> None:
    @api.post("/records", summary="Submit a signed statement (DSSE envelope)")
    async def submit(request: Request) -> dict[str, Any]:
        receipt = await lab.submit(await bounded_body(request, MAX_ENVELOPE_BYTES))
        return {"index": receipt.index, "head": receipt.head.note.decode()}

    @api.post("/leases", summary="Ask for work (signed lease.requested); long poll")
    async def lease(
        request: Request, wait_s: Annotated[float, Query(ge=0, le=60)] = 20.0
    ) -> Response:
        data = await bounded_body(request, MAX_ENVELOPE_BYTES)
        envelope = await while_connected(request, lab.lease(data, wait_s))
        if envelope is None:
            return Response(status_code=204)
        return Response(envelope.to_json(), media_type="application/json")


def _run_routes(api: FastAPI, lab: Lab) -> None:
    @api.get("/runs", summary="All runs")
    async def runs() -> list[dict[str, Any]]:
        return [views.run_view(lab.state, run, lab.clock_ms()) for run in lab.state.runs.values()]

    @api.get(RUN_PATH, summary="One run")
    async def run(name: str) -> dict[str, Any]:
        return views.run_view(lab.state, _run(lab, name), lab.clock_ms())

    @api.get(RUN_PATH + "/opening", summary="What a worker needs to know of a run")
    async def opening(name: str) -> dict[str, Any]:
        return views.run_opening_view(_run(lab, name))

    @api.get(RUN_PATH + "/versions", summary="The chain of policy versions, a page from `since` on")
    async def versions(name: str, since: Annotated[int, Query(ge=0)] = 0) -> list[dict[str, Any]]:
        return views.versions_view(_run(lab, name), since)

    @api.get(RUN_PATH + "/updates/{version}", summary="The accepted results a version is made from")
    async def update(name: str, version: int) -> list[dict[str, Any]]:
        inputs = views.update_inputs(_run(lab, name), version)
        if inputs is None:
            raise Unknown(f"the results for version {version} of {name} are not all here")
        return [each.model_dump(mode="json") for each in inputs]


def _ledger_routes(api: FastAPI, lab: Lab) -> None:
    @api.get("/ledger/head", summary="The newest signed tree head (C2SP signed note)")
    async def head() -> PlainTextResponse:
        return PlainTextResponse(lab.log.head.note)

    @api.get("/ledger/entries", summary="Ledger entries, base64, a page from `start` on")
    async def entries(
        start: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_ENTRIES_PER_PAGE)] = 100,
    ) -> list[str]:
        return [base64.b64encode(entry).decode() for entry in lab.log.read(start, limit)]


def _status_routes(api: FastAPI, lab: Lab) -> None:
    @api.get("/lab", summary="Who this lab is")
    async def who() -> dict[str, Any]:
        return {
            "lab": lab.identity.did,
            "software": f"archipel {__version__}",
            "operators": sorted(lab.state.operators),
            "ledger_key": lab.log.key.to_text(),
            "ledger_size": lab.log.size,
        }

    @api.get("/nodes", summary="Every node's totals")
    async def nodes() -> list[dict[str, Any]]:
        now_ms = lab.clock_ms()
        return [views.node_view(lab.state, node, now_ms) for node in lab.state.nodes.values()]

    @api.get("/keys/{did}", summary="The highest sequence number a key has used here")
    async def key(did: str) -> dict[str, Any]:
        return views.key_view(lab.state, did)

    @api.get("/leases", summary="Open leases")
    async def leases() -> list[dict[str, Any]]:
        return views.lease_views(lab.state, lab.clock_ms())

    @api.get("/waits", summary="Which wait is blocking each run, and who owns it")
    async def waits() -> list[explain.Wait]:
        return explain.waits(lab.state, lab.clock_ms())

    @api.get("/healthz", summary="Up")
    async def health() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @api.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(prometheus_text(lab.state, lab.clock_ms(), lab.log.size))


def _run(lab: Lab, name: str) -> Run:
    run = lab.state.runs.get(name)
    if run is None:
        raise Unknown(f"no run {name!r:.80}; this lab has {sorted(lab.state.runs)[:8]}")
    return run
