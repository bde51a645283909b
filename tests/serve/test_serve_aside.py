"""A question that takes long to be read holds up nobody's stream, and no more of them than may are under way."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from archipel.serve.aside import Aside
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
        waiting = [asyncio.ensure_future(aside.do(go.wait, LIMIT_S)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Crowded, match="2 questions"):
            await aside.do(print)
        go.set()
        assert await asyncio.gather(*waiting) == [True, True]
        with pytest.raises(ZeroDivisionError):
            await aside.do(lambda: 1 // 0)
        assert await aside.do(max, 3, 4) == 4
        aside.close()

    asyncio.run(asyncio.wait_for(session(), LIMIT_S))
