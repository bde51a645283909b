"""A question that takes long to be read holds up nobody's stream, and no more of them than may are under way."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from archipel.serve import bodies
from archipel.serve.aside import LONG_CHARS, Aside, Asides, Once
from archipel.serve.bodies import body_of
from archipel.serve.question import Crowded, Question, Said, Settings
from archipel.serve.served import Served
from serve.served_models import NOW, served, tiny_model

LIMIT_S = 20
SHORT = Question("tiny", Settings(max_new_tokens=5, seed=1), text="abc")
LONG = Question("tiny", Settings(max_new_tokens=5, seed=1), text="a long one")


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Served]:
    found = served(tiny_model(tmp_path / "tiny"))
    yield found
    found.desk.close()


def test_while_a_long_question_is_read_others_are_answered(
    one: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_read, is_begun = threading.Event(), threading.Event()
    encode = type(one.tokenizer).encode_prompt

    def slowly(tokenizer: object, text: str) -> list[int]:
        if text == LONG.text:
            is_begun.set()
            assert is_read.wait(LIMIT_S)
        return encode(tokenizer, text)  # type: ignore[arg-type]  # it is one

    monkeypatch.setattr(type(one.tokenizer), "encode_prompt", slowly)

    async def session() -> tuple[str, str]:
        late = asyncio.ensure_future(one.ask(LONG, "one", NOW))
        assert await asyncio.to_thread(is_begun.wait, LIMIT_S)
        answer = await one.ask(SHORT, "two", NOW)
        early = "".join([each.text async for each in answer.told() if isinstance(each, Said)])
        assert not late.done()
        is_read.set()
        told = (await late).told()
        return early, "".join([each.text async for each in told if isinstance(each, Said)])

    early, late = asyncio.run(asyncio.wait_for(session(), LIMIT_S))
    assert early
    assert late


def test_no_more_is_read_at_once_than_may_and_what_fails_fails_alone() -> None:
    go = threading.Event()

    async def session() -> None:
        aside = Aside(threads=1, most=2)
        waiting = [asyncio.ensure_future(aside.do("one", go.wait, LIMIT_S)) for _ in range(3)]
        await until(lambda: len(aside._errands) == 2)
        with pytest.raises(Crowded, match="2 texts"):
            await aside.do("one", print)
        go.set()
        assert await asyncio.gather(*waiting) == [True] * 3
        with pytest.raises(ZeroDivisionError):
            await aside.do("one", lambda: 1 // 0)
        assert await aside.do("one", max, 3, 4) == 4
        aside.close()

    asyncio.run(asyncio.wait_for(session(), LIMIT_S))


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  another thread does it
        await asyncio.sleep(0.005)


def test_who_sends_much_to_be_read_waits_behind_itself_and_others_go_between() -> None:
    go, done = threading.Event(), list[str]()

    async def session() -> None:
        aside = Aside(threads=1, most=9)
        waiting = [asyncio.ensure_future(aside.do("one", go.wait, LIMIT_S))]
        await until(lambda: not aside._errands)
        for number in range(9):
            waiting.append(asyncio.ensure_future(aside.do("one", done.append, f"one {number}")))
        await until(lambda: len(aside._errands) == 9)
        waiting.append(asyncio.ensure_future(aside.do("two", done.append, "two")))
        await until(lambda: len(aside._errands) == 10)
        go.set()
        await asyncio.gather(*waiting)
        aside.close()

    asyncio.run(asyncio.wait_for(session(), LIMIT_S))
    assert done.index("two") <= 1, done


def test_what_nobody_waits_for_any_more_is_not_read() -> None:
    go, done = threading.Event(), list[str]()

    async def session() -> None:
        aside = Aside(threads=1)
        first = asyncio.ensure_future(aside.do("one", go.wait, LIMIT_S))
        left = asyncio.ensure_future(aside.do("one", done.append, "left"))
        await until(lambda: len(aside._errands) == 1)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        go.set()
        assert await first
        await aside.do("one", done.append, "stayed")
        aside.close()

    asyncio.run(asyncio.wait_for(session(), LIMIT_S))
    assert done == ["stayed"]


def test_what_is_short_is_read_where_nothing_long_is() -> None:
    asides = Asides()
    assert asides.of(0) is asides.of(LONG_CHARS)
    assert asides.of(LONG_CHARS + 1) is not asides.of(LONG_CHARS)


def test_a_digest_is_not_waited_for_longer_than_a_client_would() -> None:
    is_read, times = threading.Event(), list[int]()

    def find() -> str:
        times.append(1)
        assert is_read.wait(20)
        return "sha256:ab"

    async def story() -> list[str]:
        once = Once(find)
        found = [await once.get(0.01), await once.get(0.01)]
        is_read.set()
        return [*found, await once.get(20), await once.get(20)]

    assert asyncio.run(story()) == ["", "", "sha256:ab", "sha256:ab"]
    assert times == [1], "and is found once"


def test_what_could_not_be_found_is_looked_for_again() -> None:
    left: list[Exception] = [OSError("too many open files"), ValueError("cannot be read")]

    def find() -> str:
        if left:
            raise left.pop()
        return "sha256:ab"

    async def story() -> list[str]:
        once = Once(find)
        return [await once.get(20) for _ in range(4)]

    assert asyncio.run(story()) == ["", "", "sha256:ab", "sha256:ab"]


def test_a_key_that_sends_much_leaves_half_of_the_room_for_bodies_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "MAX_ARRIVING_BYTES", 160)

    async def session() -> None:
        async with AsyncExitStack() as open_bodies:

            async def send(key: str, size: int) -> None:
                assert (
                    await open_bodies.enter_async_context(body_of(body(size), key)) == b"x" * size
                )

            await send("greedy", 50)
            with pytest.raises(Crowded, match="50 bytes of this key's"):
                await send("greedy", 31)
            await send("greedy", 30)
            await send("two", 40)
            with pytest.raises(Crowded, match=r"40 bytes of this key's .*, and 80 of others'"):
                await send("two", 1)
            await send("three", 20)
        assert not bodies._arriving

    asyncio.run(asyncio.wait_for(session(), LIMIT_S))


def body(size: int) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * size, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)
