"""The lab's HTTP door: routes to and from records; refusals become RFC 9457 problem documents.

Law: nothing is decided here; see `requests` for how a body is read.
"""

import errno
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Route

from archipel import __version__
from archipel.blobs import BlobError
from archipel.lab.background import background
from archipel.lab.blob_routes import blob_routes
from archipel.lab.description import with_refusals
from archipel.lab.directory_routes import SILENCE, Told, directory_routes
from archipel.lab.docs_page import HEADERS, docs_page
from archipel.lab.door_routes import door_routes
from archipel.lab.doorman import DoorLimits, Doorman
from archipel.lab.grant_routes import grant_routes
from archipel.lab.lab import Lab
from archipel.lab.landing_routes import landing_routes
from archipel.lab.lanes import Lanes, OnError
from archipel.lab.market_routes import market_routes
from archipel.lab.mirrors.cosigned import named_witnesses
from archipel.lab.mirrors.door import mirror_routes
from archipel.lab.ownership_routes import ownership_routes
from archipel.lab.record_routes import record_routes
from archipel.lab.refusals import LedgerStopped, Refused, StorageExhausted
from archipel.lab.traffic import CountingDoor, Traffic
from archipel.lab.turn_routes import turn_routes
from archipel.lab.upkeep import Upkeep
from archipel.lab.view_routes import view_routes
from archipel.ledger import storage as ledger

logger = logging.getLogger("archipel.lab")

PROBLEM_TYPE = "https://archipel.invalid/problems/"
"""Problem types are names, not pages; `.invalid` promises that nobody will ever fetch one."""
METHOD_NOT_ALLOWED = 405
SHORT_OF = {
    errno.EMFILE: "files that it may open",
    errno.ENFILE: "files that its machine may open",
    errno.ENOMEM: "memory",
}


def make_api(
    lab: Lab,
    operators: Sequence[str] = (),
    limits: DoorLimits | None = None,
    told: Told = SILENCE,
    mirrors: Path | None = None,
) -> FastAPI:
    """The application; its OpenAPI description is served at /openapi.json.

    Args:
        lab: whose door it is.
        operators: who may open runs, if the lab is new.
        limits: what one key and one address may ask.
        told: the cards that it hands on, its own among them.
        mirrors: the folder of its mirrors of other labs; None: it keeps none.
    """
    upkeep = Upkeep(lab)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as ending:
            ending.push_async_callback(lab.settled)
            ending.push_async_callback(upkeep.end)
            ending.callback(lab.close)
            if operators:
                await lab.found(operators)
            for work in (lab.watch_deadlines(), upkeep.go_on()):
                await ending.enter_async_context(background(work, lab.fail))
            yield

    api = FastAPI(
        title="Archipel lab",
        version=__version__,
        summary="Records in, leases out, blobs both ways; state is a fold over the ledger.",
        lifespan=lifespan,
        docs_url=None,  # the framework's page is a third party's script from a third party's server
        redoc_url=None,
    )
    errors = _answering_errors(api)
    doorman = Doorman(limits or DoorLimits(), lambda: lab.clock_ms() / 1000)
    lanes = record_routes(api, lab, doorman)
    traffic = Traffic()
    api.add_middleware(Lanes, lanes=lanes, errors=errors)
    api.add_middleware(CountingDoor, traffic=traffic)
    turn_routes(api, lab, doorman)
    view_routes(api, lab, traffic, mirrors)
    door_routes(api, lab, doorman)
    market_routes(api, lab)
    ownership_routes(api, lab)
    grant_routes(api, lab)
    blob_routes(api, lab, traffic)
    landing_routes(api, lab, traffic)
    directory_routes(api, lab, told)
    mirror_routes(api, lab, mirrors, lambda: named_witnesses(told.sealed_card()))
    _describe(api)
    return api


def _answering_errors(api: FastAPI) -> dict[type[Exception], OnError]:
    """Whatever is raised on the way becomes a problem document; returns what becomes of the lab's own."""
    errors: dict[type[Exception], OnError] = {
        Refused: _refused,
        ClientDisconnect: _hung_up,
        BlobError: _disk_trouble,
        ledger.LedgerError: _disk_trouble,
        MemoryError: _short,
        OSError: _short,
    }
    for kind, answer in errors.items():
        api.add_exception_handler(kind, answer)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _http_error)
    return errors


def _describe(api: FastAPI) -> None:
    """/openapi.json names every refusal, and /docs shows it without anybody else's help."""
    described = api.openapi

    @cache
    def openapi() -> dict[str, Any]:
        return with_refusals(described())

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(openapi()), headers=HEADERS)

    api.openapi = openapi  # type: ignore[method-assign]  # the framework's own way to say it otherwise


def problem(
    kind: str, status: int, detail: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """A problem document (RFC 9457)."""
    body = {
        "type": PROBLEM_TYPE + kind,
        "title": kind.replace("-", " "),
        "status": status,
        "detail": detail,
    }
    return JSONResponse(
        body, status_code=status, media_type="application/problem+json", headers=headers
    )


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)  # noqa: S101  registered for nothing else
    return problem(error.problem, error.status, str(error), dict(error.headers))


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for nothing else
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return problem("invalid-request", 422, f"{where}: {first['msg']}")


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for nothing else
    headers = dict(error.headers) if error.headers else None
    if error.status_code == METHOD_NOT_ALLOWED:
        headers = (headers or {}) | {"Allow": ", ".join(_allowed(request))}
    return problem("http-error", error.status_code, str(error.detail), headers)


def _allowed(request: Request) -> list[str]:
    """Methods of all routes of this path: the framework names those of the first alone."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    there = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in there for method in route.methods or ()})


async def _disk_trouble(_: Request, error: Exception) -> JSONResponse:
    """A disk that fails is no riddle: a word for whoever asked, and one line in the log."""
    logger.error("disk trouble", extra={"reason": str(error)})
    failed: Refused = StorageExhausted(f"the lab's disk cannot serve this now: {error}")
    if isinstance(error, ledger.LedgerStopped):
        failed = LedgerStopped(f"nothing can be read before the lab's next start: {error}")
    return problem(failed.problem, failed.status, str(failed))


async def _short(_: Request, error: Exception) -> JSONResponse:
    """What the system does not give now it may give soon: asked again, this was nobody's fault."""
    number = errno.ENOMEM if isinstance(error, MemoryError) else getattr(error, "errno", None)
    if number not in SHORT_OF:
        raise error
    logger.error("short", extra={"reason": SHORT_OF[number]})
    failed = StorageExhausted(f"the lab is short of {SHORT_OF[number]}; try again")
    return problem(failed.problem, failed.status, str(failed))


async def _hung_up(_: Request, error: Exception) -> JSONResponse:
    return problem("disconnected", 400, "the sender hung up; resume where the upload stopped")
