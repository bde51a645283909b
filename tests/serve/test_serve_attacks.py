"""What a stranger, a user with a key or a page might send on purpose: each is answered for itself, and nobody beside it notices."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from archipel.serve import bodies
from archipel.serve.access import Access
from archipel.serve.asking import asking_of
from archipel.serve.dialects import openai
from archipel.serve.door import make_door
from archipel.serve.question import Bends
from archipel.serve.served import Served
from archipel.serve.steering import Mask, Steered
from serve.served_models import served, tiny_model

TURN = [{"role": "user", "content": "hi"}]
CHAT = {"model": "tiny", "messages": TURN, "max_tokens": 3}
OLLAMA = {"model": "tiny", "messages": TURN, "stream": False}
HUGE = 10**400
FAR: tuple[tuple[str, dict[str, Any]], ...] = (
    *(
        (path, CHAT | {field: value, "input": "a", "max_output_tokens": 3})
        for path in ("/v1/chat/completions", "/v1/responses", "/v1/messages")
        for field in ("temperature", "top_p")
        for value in (HUGE, -HUGE)
    ),
    *(
        ("/v1/chat/completions", CHAT | {field: HUGE})
        for field in ("min_p", "presence_penalty", "frequency_penalty", "top_k", "max_tokens", "n")
    ),
    ("/v1/chat/completions", CHAT | {"logit_bias": {"1": HUGE}}),
    ("/v1/chat/completions", CHAT | {"temperature": 1e-45}),
    ("/v1/chat/completions", CHAT | {"stop": "ab" * 100_000}),
    *(
        ("/api/chat", OLLAMA | {"options": {"num_predict": 3, field: value}})
        for field, value in (
            ("temperature", HUGE), ("temperature", 1e-40), ("repeat_penalty", HUGE), ("repeat_penalty", 1e-300),
            ("repeat_last_n", 2**63), ("min_p", HUGE),
        )
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = served(tiny_model(tmp_path_factory.mktemp("attacks") / "tiny"))
    yield found
    found.desk.close()


@pytest.fixture
def door(one: Served) -> TestClient:
    return TestClient(make_door({"tiny": one}, Access()), base_url="http://127.0.0.1:8450")


def test_a_number_beyond_any_bound_is_refused_and_fails_no_step(door: TestClient) -> None:
    for path, body in FAR:
        got = door.post(path, content=json.dumps(body))
        assert got.status_code == 400, (path, str(body)[:200], got.text[:200])


@pytest.mark.parametrize("depth", [250, 500, 900, 5000])
def test_a_body_nested_too_deeply_is_refused_wherever_it_is_nested(
    door: TestClient, depth: int
) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth
    called = f'[{{"role":"assistant","content":"","tool_calls":[{{"function":{{"name":"f","arguments":{deep}}}}}]}}]'
    used = f'[{{"role":"assistant","content":[{{"type":"tool_use","id":"x","name":"f","input":{deep}}}]}}]'
    for path, rest in (
        ("/api/chat", f'"stream":false,"messages":{called}'),
        ("/v1/messages", f'"max_tokens":2,"messages":{used}'),
        ("/v1/chat/completions", f'"messages":[{{"role":"user","content":"\\ud83d\\ude00"}}],"x":{deep}'),
    ):  # fmt: skip
        got = door.post(path, content=f'{{"model":"tiny",{rest}}}')
        assert got.status_code == 400, (path, got.text[:200])


def test_who_hangs_up_before_the_first_word_of_a_stream_leaves_nothing_running(one: Served) -> None:
    door = make_door({"tiny": one}, Access())
    endless = {
        "max_tokens": 400,
        "logit_bias": {str(each): -100 for each in one.tokenizer.stop_ids},
    }
    body = json.dumps(CHAT | endless | {"stream": True}).encode()

    async def hung_up() -> int:
        coming = [{"type": "http.request", "body": body}]

        async def receive() -> dict[str, Any]:
            return coming.pop() if coming else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            await asyncio.sleep(0)  # so that it is missed before the stream began

        before = one.desk.num_tokens
        for _ in range(20):
            await door(_scope(len(body)), receive, send)
            coming.append({"type": "http.request", "body": body})
        while one.desk.counts()["running"] or one.desk.counts()["waiting"]:  # noqa: ASYNC110  the desk is a thread
            await asyncio.sleep(0.005)
        return one.desk.num_tokens - before

    assert asyncio.run(asyncio.wait_for(hung_up(), 30)) < 20 * 30


def _scope(length: int) -> dict[str, Any]:
    path = "/v1/chat/completions"
    headers = [(b"host", b"127.0.0.1"), (b"content-length", str(length).encode())]
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers, "scheme": "http",
        "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 5), "root_path": "",
    }  # fmt: skip


def test_every_endpoint_is_counted_under_its_own_path(door: TestClient) -> None:
    for path, body in (
        ("/v1/embeddings", {"input": "a"}), ("/api/embed", {"input": "a"}), ("/api/embeddings", {"prompt": "a"}),
    ):  # fmt: skip
        assert door.post(path, json={"model": "tiny"} | body).status_code == 200
        assert f'{{endpoint="{path}",status="200"}} 1.0' in door.get("/metrics").text


def test_a_body_counts_until_it_is_read(
    one: Served, door: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def reading(*args: Any) -> Any:
        seen.append(bodies._arriving["local"])
        return asking_of(*args)

    def told(data: bytes) -> Any:
        seen.append(bodies._arriving["local"])
        return chat_question(data)

    chat_question = openai.chat_question
    monkeypatch.setattr(openai, "chat_question", told)
    monkeypatch.setattr("archipel.serve.served.asking_of", reading)
    long = json.dumps(CHAT | {"x": "a" * 100_000})
    for body in (long, json.dumps(CHAT)):
        assert door.post("/v1/chat/completions", content=body).status_code == 200
    assert seen == [len(long), 0, len(json.dumps(CHAT)), 0]


class Failing(Mask):
    def __init__(self, place: int) -> None:
        self.left = place

    def leave(self, logits_V: torch.Tensor) -> bool:
        if not self.left:
            raise KeyError("in a step")
        return True

    def took(self, token: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyError("after a step")


@pytest.mark.parametrize("place", [0, 2])
def test_a_hand_that_fails_ends_its_own_answer_and_raises_nothing(place: int) -> None:
    steered = Steered(Bends(), lambda: Failing(place), stops=(3,))
    hand = steered.hand(1)
    for _ in range(place):
        hand.steer(torch.zeros(5))
        hand.took(0)
    logits = torch.zeros(5)
    hand.steer(logits)
    assert logits.isfinite().nonzero().flatten().tolist() == [3]
    assert "KeyError" in steered.faults[1]
    assert 0 not in steered.faults


def test_a_mask_that_could_not_be_told_what_came_is_not_asked_any_more() -> None:
    steered = Steered(Bends(), lambda: Failing(1), stops=(3,))
    hand: Any = steered.hand(0)
    hand.took(0)
    hand.took(0)
    logits = torch.zeros(5)
    assert isinstance(hand.mask, Failing)
    hand.mask.left = 1
    hand.steer(logits)
    assert logits.isfinite().nonzero().flatten().tolist() == [3]


def test_biases_are_added_to_the_tokens_that_they_name_and_to_no_others() -> None:
    hand = Steered(Bends({1: 2.5, 3: -1.0, 99: 5.0}), None, ()).hand(0)
    logits = torch.arange(5.0)
    hand.steer(logits)
    assert logits.tolist() == [0.0, 3.5, 2.0, 2.0, 4.0]
