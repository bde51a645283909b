"""Refusals as HTTP responses, each in the form of the dialect that was spoken; which one is, by its path."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from archipel.serve.dialects import anthropic, ollama, openai
from archipel.serve.question import BadQuestion, Crowded, NoKey, Refusal, Short, TookTooLong

Dialect = Literal["openai", "anthropic", "ollama"]
REFUSALS: Mapping[Dialect, Callable[[Refusal], Mapping[str, Any]]] = {
    "openai": openai.refusal,
    "anthropic": anthropic.refusal,
    "ollama": ollama.refusal,
}


def response_of(request: Request, why: Refusal) -> Response:
    """What whoever asked is told."""
    return JSONResponse(REFUSALS[dialect_of(request.url.path)](why), why.status, _headers(why))


async def no_route(request: Request, error: Exception) -> Response:
    """Where nothing is served, or not by that method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    why = BadQuestion(f"{request.method:.20} {request.url.path:.200} is not served here")
    return JSONResponse(REFUSALS[dialect_of(request.url.path)](why), status, headers)


def dialect_of(path: str) -> Dialect:
    """That is spoken there."""
    if path.startswith("/api/"):
        return "ollama"
    return "anthropic" if path.startswith("/v1/messages") else "openai"


def _headers(why: Refusal) -> dict[str, str]:
    """What clients are told beside a refusal."""
    if isinstance(why, NoKey):
        return {"www-authenticate": "Bearer"}
    if isinstance(why, Crowded | Short):
        return {"retry-after": "1"}
    return {"x-should-retry": "false"} if isinstance(why, TookTooLong) else {}
