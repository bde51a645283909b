"""Refusals as HTTP responses, each in the form of the dialect that was spoken."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from archipel.serve.dialects import anthropic, ollama, openai
from archipel.serve.question import BadQuestion, Crowded, NoKey, Refusal, TookTooLong


def response_of(request: Request, why: Refusal) -> Response:
    """What whoever asked is told."""
    return JSONResponse(_dialect(request.url.path)(why), why.status, _headers(why))


async def no_route(request: Request, error: Exception) -> Response:
    """Where nothing is served, or not by that method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    why = BadQuestion(f"{request.method:.20} {request.url.path:.200} is not served here")
    return JSONResponse(_dialect(request.url.path)(why), status, headers)


def _dialect(path: str) -> Callable[[Refusal], Mapping[str, Any]]:
    if path.startswith("/api/"):
        return ollama.refusal
    return anthropic.refusal if path.startswith("/v1/messages") else openai.refusal


def _headers(why: Refusal) -> dict[str, str]:
    """What clients are told beside a refusal."""
    if isinstance(why, NoKey):
        return {"www-authenticate": "Bearer"}
    if isinstance(why, Crowded):
        return {"retry-after": "1"}
    return {"x-should-retry": "false"} if isinstance(why, TookTooLong) else {}
