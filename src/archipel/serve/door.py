"""The served model's HTTP door: routes of every dialect, keys, and who may ask at all.

Parts: `make_door`; who may ask at all, `access` says. Laws: who hangs up leaves the desk at once. Prompts and answers are written nowhere.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from archipel import __version__
from archipel.serve.access import Access
from archipel.serve.aside import Aside
from archipel.serve.asked import Asked
from archipel.serve.bodies import body_of
from archipel.serve.defects import broken
from archipel.serve.description import description
from archipel.serve.dialects import anthropic, ollama, openai, openai_responses
from archipel.serve.metrics import MEDIA_TYPE, Counted, prometheus_text
from archipel.serve.page_files import page_file
from archipel.serve.question import (
    BadQuestion,
    NoKey,
    NotYours,
    Question,
    Refusal,
    UnknownModel,
)
from archipel.serve.reads import READS, Caller
from archipel.serve.refusing import no_route, response_of
from archipel.serve.replies import Replies
from archipel.serve.signed.keeping import NoAnswer, Signing
from archipel.serve.tally import Tally, refused

TIMEOUT_S = 1800.0
LONG_BYTES = 16_384
T = TypeVar("T")


def make_door(
    served: Mapping[str, Asked],
    access: Access,
    timeout_s: float = TIMEOUT_S,
    signing: Signing | None = None,
) -> Starlette:
    """The application. served: by name; the first is meant by clients that can name none. signing: of answers, if any is."""
    door = _Door(served, access, timeout_s, signing)
    door.routes = [
        Route("/", door.page),
        Route("/page/{name}", door.page),
        Route("/health", door.health),
        Route("/metrics", door.metrics),
        Route("/openapi.json", door.openapi),
        Route("/v1/models", door.models),
        Route("/v1/models/{name:path}", door.model),
        Route("/v1/chat/completions", door.chat, methods=["POST"]),
        Route("/v1/completions", door.text, methods=["POST"]),
        Route("/v1/responses", door.responses, methods=["POST"]),
        Route("/v1/messages", door.messages, methods=["POST"]),
        Route("/v1/messages/count_tokens", door.count, methods=["POST"]),
        # An endpoint of its own for each: requests are counted by it.
        *(Route(path, partial(door.read), methods=["POST"]) for path in READS),
        *([] if signing is None else [Route("/v1/answers/{name}", door.signed)]),
        Route("/api/version", door.version),
        Route("/api/tags", door.tags),
        Route("/api/ps", door.running),
        Route("/api/show", door.show, methods=["POST"]),
        Route("/api/chat", door.ollama_chat, methods=["POST"]),
        Route("/api/generate", door.ollama_text, methods=["POST"]),
    ]
    paths = {each.endpoint: each.path for each in door.routes}
    return Starlette(
        routes=door.routes,
        exception_handlers={HTTPException: no_route},
        middleware=[Middleware(Counted, tally=door.tally, paths=paths)],
    )


def _guarded(route: Callable[["_Door", Request, str], Awaitable[Response]]) -> Any:
    """A route for those who may ask; what it refuses is told in its dialect."""

    async def guarded(door: "_Door", request: Request) -> Response:
        try:
            return await route(door, request, door.access.caller(request))
        except Refusal as why:
            return door.refuse(request, why)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:  # noqa: BLE001  whatever it was, it is told in the dialect's own form
            return door.refuse(request, broken(error))

    return guarded


class _Door:
    """The routes."""

    def __init__(
        self,
        served: Mapping[str, Asked],
        access: Access,
        timeout_s: float,
        signing: Signing | None,
    ) -> None:
        self._served, self.access, self.tally = served, access, Tally()
        self._replies, self._aside = Replies(self.tally, timeout_s, signing), Aside()
        self._signing = signing
        self.routes: list[Route] = []

    def refuse(self, request: Request, why: Refusal) -> Response:
        """In the dialect's own form."""
        refused(self.tally, why)
        return response_of(request, why)

    async def health(self, request: Request) -> Response:
        """That it is there, to anybody who goes by its name; what is served, to who may ask; what it does, to who may see sums."""
        said: dict[str, Any] = {"status": "ok"}
        try:
            caller = self.access.caller(request)
            said |= {"version": __version__, "models": list(self._served)}
            self.access.check_sums(caller)
        except (NoKey, NotYours):
            return JSONResponse(said)
        except Refusal as why:
            return self.refuse(request, why)
        rate = round(self.tally.tokens_per_s(asyncio.get_running_loop().time()), 1)
        return JSONResponse(said | {"tokens_per_s": rate} | self._counts())

    @_guarded
    async def metrics(self, request: Request, caller: str) -> Response:
        self.access.check_sums(caller)
        now_s = asyncio.get_running_loop().time()
        return Response(prometheus_text(self.tally, self._counts(), now_s), media_type=MEDIA_TYPE)

    @_guarded
    async def openapi(self, request: Request, caller: str) -> Response:
        return JSONResponse(description(self.routes))

    def _counts(self) -> dict[str, int]:
        """Of all that is served; what shares a desk is counted once."""
        desks = {id(getattr(each, "desk", each)): each.counts() for each in self._served.values()}
        summed = Counter({"waiting": 0, "running": 0})
        for counts in desks.values():
            summed.update(counts)
        return dict(summed)

    async def page(self, request: Request) -> Response:
        """The chat page asks nothing of the model itself; what it then asks needs a key as from anybody."""
        try:
            self.access.check_origin(request, is_page=True)
        except Refusal as why:
            return self.refuse(request, why)
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
        return JSONResponse(await ollama.tags(self._served.values()))

    @_guarded
    async def running(self, request: Request, caller: str) -> Response:
        return JSONResponse(await ollama.running(self._served.values()))

    @_guarded
    async def show(self, request: Request, caller: str) -> Response:
        one = self._named(await self._read(request, caller, ollama.asked_name))
        return JSONResponse(ollama.shown(one))

    @_guarded
    async def chat(self, request: Request, caller: str) -> Response:
        return await self._openai(
            request, caller, *await self._read(request, caller, openai.chat_question)
        )

    @_guarded
    async def text(self, request: Request, caller: str) -> Response:
        return await self._openai(
            request, caller, *await self._read(request, caller, openai.text_question)
        )

    @_guarded
    async def responses(self, request: Request, caller: str) -> Response:
        question, style = await self._read(request, caller, openai_responses.question)
        style.since = round(time.time())
        answer = await self._named(question.model).ask(question, caller, _now())
        return await self._replies.reply(request, answer, style, style.stream)

    @_guarded
    async def messages(self, request: Request, caller: str) -> Response:
        question, style = await self._read(request, caller, anthropic.question)
        answer = await self._named(question.model).ask(question, caller, _now())
        style.prompt = answer.num_prompt_tokens
        return await self._replies.reply(request, answer, style, style.stream)

    @_guarded
    async def count(self, request: Request, caller: str) -> Response:
        question = await self._read(request, caller, anthropic.counted)
        found = await self._named(question.model).count(question, caller, _now())
        return JSONResponse(anthropic.count(found))

    @_guarded
    async def ollama_chat(self, request: Request, caller: str) -> Response:
        return await self._ollama(
            request, caller, *await self._read(request, caller, ollama.chat_question)
        )

    @_guarded
    async def ollama_text(self, request: Request, caller: str) -> Response:
        def read(data: bytes) -> tuple[Question | None, ollama.Style]:
            has_template = self._named(ollama.asked_name(data)).chat_template is not None
            return ollama.text_question(data, has_template)

        return await self._ollama(request, caller, *await self._read(request, caller, read))

    @_guarded
    async def read(self, request: Request, caller: str) -> Response:
        """Whatever is read without an answer being sampled."""
        asking, reads = Caller(self._named, caller, _now(), self._aside), READS[request.url.path]
        async with body_of(request, caller) as data:
            return await self._replies.read(request, reads(data, asking))

    @_guarded
    async def signed(self, request: Request, caller: str) -> Response:
        """An answer of this caller, signed."""
        if self._signing is None:
            raise NoAnswer("nothing is signed here; start the server with --sign")
        found = await self._signing.fetch(request.path_params["name"], caller)
        return Response(found, media_type="application/json")

    async def _openai(
        self,
        request: Request,
        caller: str,
        question: Question,
        style: openai.ChatStyle | openai.TextStyle,
    ) -> Response:
        one = self._named(question.model)
        style.since, style.fingerprint = round(time.time()), one.fingerprint
        return await self._replies.reply(
            request, await one.ask(question, caller, _now()), style, style.stream
        )

    async def _ollama(
        self, request: Request, caller: str, question: Question | None, style: ollama.Style
    ) -> Response:
        one = self._named(style.model)
        if question is None:
            return JSONResponse(style.loaded())
        return await self._replies.reply(
            request, await one.ask(question, caller, _now()), style, style.stream
        )

    async def _read(self, request: Request, caller: str, asked: Callable[[bytes], T]) -> T:
        """A body as a question; a long one is read beside the event loop."""
        async with body_of(request, caller) as data:
            if len(data) < LONG_BYTES:
                return asked(data)
            return await self._aside.do(caller, asked, data)

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


def _now() -> datetime:
    return datetime.now().astimezone()
