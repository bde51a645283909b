"""The served model's HTTP door: routes of every dialect, keys, and who may ask at all.

Parts: `make_door`; who may ask at all, `access` says. Laws: who hangs up leaves the desk at once. Prompts and answers are written nowhere.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from archipel import __version__
from archipel.model.tool_calls import format_of
from archipel.serve.access import Access
from archipel.serve.asked import Answering, Asked
from archipel.serve.dialects import anthropic, ollama, openai, openai_responses
from archipel.serve.dialects.dialect import MAX_BODY_BYTES, Style, Whole
from archipel.serve.page_files import page_file
from archipel.serve.question import (
    BadQuestion,
    Question,
    Refusal,
    Said,
    UnknownModel,
)

BODY_LIMIT_S = 60.0
TIMEOUT_S = 1800.0
Told = Callable[[Refusal], Mapping[str, Any]]
"""A refusal in a dialect's words."""


def make_door(
    served: Mapping[str, Asked], access: Access, timeout_s: float = TIMEOUT_S
) -> Starlette:
    """The application. served: by name; the first is meant by clients that can name none."""
    door = _Door(served, access)
    routes = [
        Route("/", door.page),
        Route("/page/{name}", door.page),
        Route("/health", door.health),
        Route("/v1/models", door.models),
        Route("/v1/models/{name:path}", door.model),
        Route("/v1/chat/completions", door.chat, methods=["POST"]),
        Route("/v1/completions", door.text, methods=["POST"]),
        Route("/v1/responses", door.responses, methods=["POST"]),
        Route("/v1/messages", door.messages, methods=["POST"]),
        Route("/v1/messages/count_tokens", door.count, methods=["POST"]),
        Route("/api/version", door.version),
        Route("/api/tags", door.tags),
        Route("/api/ps", door.tags),
        Route("/api/show", door.show, methods=["POST"]),
        Route("/api/chat", door.ollama_chat, methods=["POST"]),
        Route("/api/generate", door.ollama_text, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _no_route})


def _dialect(path: str) -> Told:
    if path.startswith("/api/"):
        return ollama.refusal
    return anthropic.refusal if path.startswith("/v1/messages") else openai.refusal


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    why = BadQuestion(f"{request.method} {request.url.path} is not served here")
    return JSONResponse(_dialect(request.url.path)(why), status)


def _guarded(route: Callable[["_Door", Request, str], Awaitable[Response]]) -> Any:
    """A route for those who may ask; what it refuses is told in its dialect."""

    async def guarded(door: "_Door", request: Request) -> Response:
        try:
            return await route(door, request, door.access.caller(request))
        except Refusal as why:
            return JSONResponse(_dialect(request.url.path)(why), why.status)
        except ClientDisconnect:
            return Response(status_code=499)

    return guarded


class _Door:
    """The routes."""

    def __init__(self, served: Mapping[str, Asked], access: Access) -> None:
        self._served, self.access = served, access

    @_guarded
    async def health(self, request: Request, caller: str) -> Response:
        counts = {name: each.counts() for name, each in self._served.items()}
        return JSONResponse({"status": "ok", "version": __version__, "models": counts})

    async def page(self, request: Request) -> Response:
        """The chat page asks nothing of the model itself; what it then asks needs a key as from anybody."""
        try:
            self.access.check_origin(request)
        except Refusal as why:
            return JSONResponse(openai.refusal(why), why.status)
        found = page_file(request.path_params.get("name", "index.html"))
        return found or JSONResponse(openai.refusal(BadQuestion("there is no such page")), 404)

    @_guarded
    async def version(self, request: Request, caller: str) -> Response:
        return JSONResponse({"version": __version__})

    @_guarded
    async def models(self, request: Request, caller: str) -> Response:
        return JSONResponse(openai.models(self._since))

    @_guarded
    async def model(self, request: Request, caller: str) -> Response:
        one = self._named(request.path_params["name"])
        return JSONResponse(openai.models({one.name: one.since})["data"][0])

    @_guarded
    async def tags(self, request: Request, caller: str) -> Response:
        return JSONResponse(ollama.tags(self._since, {}))

    @_guarded
    async def show(self, request: Request, caller: str) -> Response:
        one = self._named(ollama.asked_name(await _body(request)))
        template = one.chat_template
        return JSONResponse(ollama.shown(template, one.positions, format_of(template) != "plain"))

    @_guarded
    async def chat(self, request: Request, caller: str) -> Response:
        return await self._openai(request, caller, *openai.chat_question(await _body(request)))

    @_guarded
    async def text(self, request: Request, caller: str) -> Response:
        return await self._openai(request, caller, *openai.text_question(await _body(request)))

    @_guarded
    async def responses(self, request: Request, caller: str) -> Response:
        question, style = openai_responses.question(await _body(request))
        style.since = round(time.time())
        answer = await self._named(question.model).ask(question, caller, _now())
        return await self._answered(request, answer, style, style.stream)

    @_guarded
    async def messages(self, request: Request, caller: str) -> Response:
        question, style = anthropic.question(await _body(request))
        answer = await self._named(question.model).ask(question, caller, _now())
        style.prompt = answer.num_prompt_tokens
        return await self._answered(request, answer, style, style.stream)

    @_guarded
    async def count(self, request: Request, caller: str) -> Response:
        question = anthropic.counted(await _body(request))
        found = await self._named(question.model).count(question, _now())
        return JSONResponse(anthropic.count(found))

    @_guarded
    async def ollama_chat(self, request: Request, caller: str) -> Response:
        return await self._ollama(request, caller, *ollama.chat_question(await _body(request)))

    @_guarded
    async def ollama_text(self, request: Request, caller: str) -> Response:
        data = await _body(request)
        has_template = self._named(ollama.asked_name(data)).chat_template is not None
        return await self._ollama(request, caller, *ollama.text_question(data, has_template))

    async def _openai(
        self,
        request: Request,
        caller: str,
        question: Question,
        style: openai.ChatStyle | openai.TextStyle,
    ) -> Response:
        one = self._named(question.model)
        style.since, style.fingerprint = round(time.time()), one.fingerprint
        return await self._answered(
            request, await one.ask(question, caller, _now()), style, style.stream
        )

    async def _ollama(
        self, request: Request, caller: str, question: Question | None, style: ollama.Style
    ) -> Response:
        one = self._named(style.model)
        if question is None:
            return JSONResponse(style.loaded())
        return await self._answered(
            request, await one.ask(question, caller, _now()), style, style.stream
        )

    @property
    def _since(self) -> dict[str, int]:
        return {name: each.since for name, each in self._served.items()}

    def _named(self, name: str) -> Asked:
        """Raises UnknownModel."""
        one = self._served.get(name) or self._served.get(name.removesuffix(":latest"))
        if one is None:
            raise UnknownModel(
                f"no model {name!r:.80} here; there are {', '.join(self._served)}", "model"
            )
        return one

    async def _answered(
        self, request: Request, answer: Answering, style: Style, stream: bool
    ) -> Response:
        if stream:
            return StreamingResponse(_streamed(answer, style), media_type=style.media)
        choices = [Whole() for _ in range(answer.question.settings.choices)]

        async def collect() -> None:
            async for told in answer.told():
                one = choices[told.choice]
                if isinstance(told, Said):
                    one.text += told.text
                    one.tokens += told.tokens
                else:
                    one.ended = told

        collecting = asyncio.ensure_future(collect())
        leaving = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait({collecting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not collecting.done():
                raise ClientDisconnect
            collecting.result()
        finally:
            for task in (collecting, leaving):
                task.cancel()
            answer.leave()
        return JSONResponse(style.whole(choices, answer.num_prompt_tokens, answer.num_tokens))


async def _streamed(answer: Answering, style: Style) -> AsyncIterator[bytes]:
    try:
        for chunk in style.begin():
            yield chunk
        async for told in answer.told():
            for chunk in style.told(told):
                yield chunk
        for chunk in style.end(answer.num_prompt_tokens, answer.num_tokens):
            yield chunk
    except Refusal as why:
        for chunk in style.failed(why):
            yield chunk
    finally:
        answer.leave()


async def _left(request: Request) -> None:
    """Until whoever asked hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _body(request: Request) -> bytes:
    """Raises BadQuestion: too large, or not here in time."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise BadQuestion(f"the body is larger than {MAX_BODY_BYTES} bytes; send less")
    except TimeoutError:
        raise BadQuestion(
            f"the body was not here within {BODY_LIMIT_S:.0f} s; send it again"
        ) from None
    return bytes(body)


def _now() -> datetime:
    return datetime.now().astimezone()
