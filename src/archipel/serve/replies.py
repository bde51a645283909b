"""From an answer under way to an HTTP response: streamed as it comes, or whole; who hangs up ends the work on it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from archipel.serve.answer import Answer
from archipel.serve.asked import Answering
from archipel.serve.defects import broken
from archipel.serve.dialects.dialect import Style, Whole
from archipel.serve.question import Refusal, Said, TookTooLong
from archipel.serve.signed.keeping import Signing
from archipel.serve.tally import Tally, refused, watched

T = TypeVar("T")
SEED, NAME = "archipel-seed", "archipel-answer"
"""Headers of an answer."""


class Replies:
    """How one door replies."""

    def __init__(self, tally: Tally, timeout_s: float, signing: Signing | None = None) -> None:
        """timeout_s: for an answer in all."""
        self._tally, self._timeout_s, self._signing = tally, timeout_s, signing

    async def reply(
        self, request: Request, answer: Answering, style: Style, stream: bool
    ) -> Response:
        """The response.

        Raises:
            Refusal: it could not be answered after all. ClientDisconnect: nobody waits for it any more.
        """
        asked_s = asyncio.get_running_loop().time()
        headers = self._headers(answer)
        if stream:
            streamed = self._streamed(answer, style, asked_s)
            return _Streaming(answer, streamed, style.media, headers)
        choices = [Whole() for _ in range(answer.question.settings.choices)]
        try:
            await _unless_left(request, self._collect(answer, choices, asked_s))
        finally:
            answer.leave()
        whole = style.whole(choices, answer.num_prompt_tokens, answer.num_tokens)
        return JSONResponse(whole, headers=headers)

    def _headers(self, answer: Answering) -> dict[str, str]:
        """By which seed it can be asked for again, and by which name it can be fetched signed."""
        if not isinstance(answer, Answer):
            return {}
        headers = {SEED: str(answer.request.seed)}
        name = None if self._signing is None else self._signing.expect(answer)
        return headers if name is None else headers | {NAME: name}

    async def read(
        self, request: Request, reading: Coroutine[Any, Any, Iterable[bytes]]
    ) -> Response:
        """The response where nothing is sampled; its pieces are made one by one, between others' tokens.

        Raises:
            Refusal: it could not be read after all. ClientDisconnect: nobody waits for it any more.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                pieces = await _unless_left(request, reading)
        except TimeoutError:
            raise TookTooLong(
                f"reading took more than {self._timeout_s:.0f} s; ask for less at once"
            ) from None
        return StreamingResponse(_by_turns(pieces), media_type="application/json")

    async def _collect(self, answer: Answering, choices: list[Whole], asked_s: float) -> None:
        async for told in watched(answer, self._tally, asked_s, self._timeout_s):
            one = choices[told.choice]
            if isinstance(told, Said):
                one.text += told.text
                one.tokens += told.tokens
            else:
                one.ended = told

    async def _streamed(
        self, answer: Answering, style: Style, asked_s: float
    ) -> AsyncIterator[bytes]:
        try:
            for chunk in style.begin():
                yield chunk
            async for told in watched(answer, self._tally, asked_s, self._timeout_s):
                for chunk in style.told(told):
                    yield chunk
            for chunk in style.end(answer.num_prompt_tokens, answer.num_tokens):
                yield chunk
        except Exception as error:  # noqa: BLE001  whatever it was, the stream ends in its dialect's own form
            why = error if isinstance(error, Refusal) else broken(error)
            refused(self._tally, why)
            for chunk in style.failed(why):
                yield chunk
        finally:
            answer.leave()


class _Streaming(StreamingResponse):
    """Whoever hangs up before its first word is missed, too: what was never begun has no end of its own."""

    def __init__(
        self,
        answer: Answering,
        stream: AsyncIterator[bytes],
        media: str,
        headers: Mapping[str, str] | None,
    ) -> None:
        super().__init__(stream, media_type=media, headers=headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.leave()


async def _by_turns(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
        await asyncio.sleep(0)


async def _unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What comes of the work. Raises ClientDisconnect: nobody waits for it any more; it is ended then."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()


async def _left(request: Request) -> None:
    """Until whoever asked hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
