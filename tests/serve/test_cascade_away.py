"""A large model on another server: what is sent, what is counted, and whatever may come back."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from archipel.serve.access import Access
from archipel.serve.asked import Told
from archipel.serve.cascade.away import Away, Unreachable, body_of
from archipel.serve.cascade.streams import MAX_LINE_BYTES, Heard, lines_of
from archipel.serve.door import make_door
from archipel.serve.question import (
    BadQuestion,
    Bends,
    Broken,
    Call,
    Calling,
    Crowded,
    Ended,
    NotOffered,
    Question,
    Said,
    Settings,
)
from archipel.serve.served import Served
from serve.served_models import NOW, served, tiny_model

MESSAGES = ({"role": "user", "content": "hello"},)
ASKED = Question("away", Settings(max_new_tokens=6, temperature=0.0), messages=MESSAGES)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    one = served(tiny_model(tmp_path_factory.mktemp("away") / "large"), "large")
    yield one
    one.desk.close()


def told(away: Away, question: Question = ASKED) -> list[Told]:
    async def ask() -> list[Told]:
        return [each async for each in (await away.ask(question, "one", NOW)).told()]

    return asyncio.run(ask())


def answering(status: int, body: bytes) -> Away:
    reply = httpx.MockTransport(lambda request: httpx.Response(status, content=body))
    return Away("large", "http://there/v1", 1, transport=reply)


def text_of(all_told: list[Told]) -> str:
    return "".join(each.text for each in all_told if isinstance(each, Said))


def test_another_server_of_ours_answers_as_if_it_were_here(large: Served) -> None:
    door = make_door({"large": large}, Access())
    away = Away("large", "http://localhost/v1", 1, transport=httpx.ASGITransport(app=door))

    async def here() -> list[Told]:
        return [each async for each in (await large.ask(ASKED, "one", NOW)).told()]

    expected = asyncio.run(here())
    assert text_of(told(away)) == text_of(expected)
    several = replace(ASKED, settings=Settings(max_new_tokens=4, choices=2, seed=3))
    ends = [each for each in told(away, several) if isinstance(each, Ended)]
    assert sorted(each.choice for each in ends) == [0, 1]


def test_every_byte_of_a_question_that_leaves_is_counted() -> None:
    sent: list[bytes] = []

    def reply(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        assert request.headers["authorization"] == "Bearer secret"
        done = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": "stop"}]}
        return httpx.Response(200, content=b"data: " + json.dumps(done).encode() + b"\n\n")

    away = Away("large", "http://there/v1", 1, "secret", transport=httpx.MockTransport(reply))
    told(away)
    told(away)
    assert away.counts() == {"questions_left": 2, "bytes_left": sum(map(len, sent))}
    assert json.loads(sent[0])["messages"] == [*MESSAGES]


def test_nothing_leaves_before_the_answer_is_read() -> None:
    away = answering(200, b"")

    async def ask() -> None:
        (await away.ask(ASKED, "one", NOW)).leave()

    asyncio.run(ask())
    assert away.counts()["bytes_left"] == 0


def test_only_settings_that_differ_are_sent_and_token_numbers_never() -> None:
    plain = body_of(replace(ASKED, settings=Settings()), "large")
    assert plain.keys() == {"model", "messages", "stream", "stream_options", "temperature"}
    full = Settings(9, 0.5, 0.9, 5, 0.1, 7, 2, ("x",), Bends(presence=1.0))
    said = body_of(replace(ASKED, settings=full), "large")
    wanted = {"max_tokens": 9, "top_p": 0.9, "top_k": 5, "seed": 7, "n": 2, "stop": ["x"]}
    assert {name: said[name] for name in wanted} == wanted
    for settings, name in (
        (Settings(bends=Bends({3: 1.0})), "logit_bias"),
        (Settings(bends=Bends(repeat=1.1)), "repeat_penalty"),
        (Settings(num_top=2), "top_logprobs"),
    ):
        with pytest.raises(NotOffered, match=name):
            body_of(replace(ASKED, settings=settings), "large")
    forced = replace(ASKED, calling=Calling(is_forced=True, name="f", is_single=True))
    assert body_of(forced, "large")["tool_choice"]["function"] == {"name": "f"}
    assert body_of(forced, "large")["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("status", "kind"), [(429, Crowded), (400, BadQuestion), (401, Broken), (500, Broken)]
)
def test_what_the_other_server_refuses_is_told_by_whose_fault_it_is(
    status: int, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=f"answered {status}: so it is"):
        told(answering(status, b"so it is" + b"." * 100_000))


def test_a_server_that_is_not_there_is_named() -> None:
    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    with pytest.raises(Unreachable, match="http://there/v1 does not answer"):
        told(Away("large", "http://there/v1", 1, transport=httpx.MockTransport(gone)))


@pytest.mark.parametrize(
    "body",
    [
        b"data: {nothing\n\n",
        b'data: {"choices": [{"index": 3, "delta": {}}]}\n\n',
        b'data: {"choices": [{"index": 0, "delta": {"content": "x"}}]}\n\ndata: [DONE]\n\n',
        b'data: {"choices": [{"index": 0, "delta": {"content": 7}}]}\n\n',
        b'data: {"error": {"message": "no"}}\n\n',
        b"",
    ],
)
def test_a_stream_that_is_none_or_breaks_off_is_no_answer(body: bytes) -> None:
    with pytest.raises(Broken):
        told(answering(200, body))


def test_a_line_without_end_is_given_up() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MAX_LINE_BYTES // 65_536 + 2):
            yield b"x" * 65_536

    async def read() -> list[bytes]:
        return [line async for line in lines_of(endless())]

    with pytest.raises(Broken, match="line over"):
        asyncio.run(read())


def test_calls_come_in_pieces_and_are_told_whole() -> None:
    heard = Heard(1)

    def line(delta: dict[str, Any], why: str | None = None) -> list[Told]:
        chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": why}]}
        return list(heard.line(b"data: " + json.dumps(chunk).encode()))

    def part(**function: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, "function": function}]}

    assert line(part(name="look", arguments='{"a"')) == []
    assert line(part(arguments=": 1}")) == []
    assert line({}, "tool_calls") == [Ended(0, "tool_calls", 0, (Call("look", '{"a": 1}'),))]
