"""The lab's HTTP door: routes to and from records; refusals become RFC 9457 problem documents.

Law: nothing is decided here; see `requests` for how a body is read.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from archipel import __version__
from archipel.lab.background import background
from archipel.lab.blob_routes import blob_routes
from archipel.lab.doorman import DoorLimits, Doorman
from archipel.lab.lab import Lab
from archipel.lab.record_routes import record_routes
from archipel.lab.refusals import Busy, Refused
from archipel.lab.traffic import CountingDoor, Traffic
from archipel.lab.upkeep import Upkeep
from archipel.lab.view_routes import view_routes

PROBLEM_TYPE = "https://archipel.invalid/problems/"
"""Problem types are names, not pages; `.invalid` promises that nobody will ever fetch one."""
RETRY_AFTER_S = 2


def make_api(lab: Lab, operators: Sequence[str] = (), limits: DoorLimits | None = None) -> FastAPI:
    """The application; its OpenAPI description is served at /openapi.json.

    Args:
        lab: whose door it is.
        operators: who may open runs, if the lab is new.
        limits: what one key and one address may ask.
    """
    upkeep = Upkeep(lab)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as tasks:
            if operators:
                await lab.found(operators)
            await tasks.enter_async_context(background(lab.watch_deadlines()))
            await tasks.enter_async_context(background(upkeep.go_on()))
            yield
        lab.close()
        await upkeep.end()
        await lab.settled()

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
    traffic = Traffic()
    api.add_middleware(CountingDoor, traffic=traffic)
    doorman = Doorman(limits or DoorLimits(), lambda: lab.clock_ms() / 1000)
    record_routes(api, lab, doorman)
    view_routes(api, lab, traffic)
    blob_routes(api, lab)
    return api


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
    headers = {"Retry-After": str(RETRY_AFTER_S)} if isinstance(error, Busy) else None
    return problem(error.problem, error.status, str(error), headers)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for nothing else
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return problem("invalid-request", 422, f"{where}: {first['msg']}")


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for nothing else
    headers = dict(error.headers) if error.headers else None
    return problem("http-error", error.status_code, str(error.detail), headers)


async def _hung_up(_: Request, error: Exception) -> JSONResponse:
    return problem("disconnected", 400, "the sender hung up; resume where the upload stopped")
