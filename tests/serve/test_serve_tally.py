"""What a door counts, and that an answer has an end: durations fall into their bins, nothing of a question is told."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from archipel.serve.access import Access
from archipel.serve.door import make_door
from archipel.serve.question import Ended, Question, Refusal, Said, Settings, TookTooLong
from archipel.serve.served import Served
from archipel.serve.tally import Spread, Tally, watched
from serve.served_models import served, tiny_model

LOCAL = "http://127.0.0.1:8450"
TURN = [{"role": "user", "content": "a secret word"}]
KEY = "sk-0123456789abcdef"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = served(tiny_model(tmp_path_factory.mktemp("tally") / "tiny"))
    yield found
    found.desk.close()


@pytest.fixture
def door(one: Served) -> TestClient:
    return TestClient(make_door({"tiny": one}, Access()), base_url=LOCAL)


def values(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_duration_counts_where_it_is_at_most_the_bound() -> None:
    spread = Spread((0.1, 1.0))
    for each in (0.05, 0.1, 0.5, 7.0):
        spread.note(each)
    assert spread.rows() == [(0.1, 2), (1.0, 3), (float("inf"), 4)]
    assert spread.sum_s == pytest.approx(7.65)


def test_tokens_a_second_are_those_of_the_last_ten() -> None:
    tally = Tally()
    for second in range(100, 130):
        for part in (0.0, 0.5):
            tally.sampled(3, second + part)
    assert tally.tokens_per_s(130.2) == 6.0
    assert tally.tokens_per_s(135.0) == 3.0
    assert tally.tokens_per_s(150.0) == 0.0


class Slow:
    """An answer that says a token, and then nothing."""

    question = Question("m", Settings())
    num_prompt_tokens, num_tokens = 7, 0

    def __init__(self) -> None:
        self.has_left = False

    async def told(self) -> AsyncIterator[Said]:
        self.num_tokens += 1
        yield Said(0, "x")
        await asyncio.sleep(60)

    def leave(self) -> None:
        self.has_left = True


def test_an_answer_that_is_not_whole_in_time_ends_and_is_left() -> None:
    answer, tally = Slow(), Tally()

    async def story() -> list[Any]:
        now_s = asyncio.get_running_loop().time()
        told = watched(answer, tally, now_s, 0.05)
        heard = [await anext(told)]
        with pytest.raises(TookTooLong, match="after 1 tokens"):
            await anext(told)
        assert asyncio.get_running_loop().time() < now_s + 20
        return heard

    assert asyncio.run(story()) == [Said(0, "x")]
    assert answer.has_left
    assert tally.first.rows()[-1][1] == 1
    assert tally.num_prompt_tokens == 7


class Choices(Slow):
    """An answer of two choices, told in pieces of which some bring no token."""

    async def told(self) -> AsyncIterator[Said | Ended]:
        for num_tokens, each in (
            (2, Said(0, "a")), (2, Said(1, "b")), (2, Said(0, "")), (5, Said(1, "c")), (5, Ended(0, "stop", 2)),
        ):  # fmt: skip
            self.num_tokens = num_tokens
            yield each


def test_each_token_counts_once_however_often_something_is_told() -> None:
    answer, tally = Choices(), Tally()
    counted: list[int] = []
    note = tally.sampled
    tally.sampled = lambda num, now_s: (counted.append(num), note(num, now_s))[1]  # type: ignore[method-assign]

    async def story() -> int:
        now_s = asyncio.get_running_loop().time()
        return len([told async for told in watched(answer, tally, now_s, 20)])

    assert asyncio.run(story()) == 5
    assert tally.num_tokens == 5
    assert counted == [2, 3], "nothing is noted where nothing came"
    assert tally.first.rows()[-1][1] == 1, "the first of all choices"
    assert tally.between.rows()[-1][1] == 2, "of each choice by itself"
    assert answer.has_left


@pytest.mark.parametrize("stream", [True, False])
def test_a_question_has_so_much_time_in_every_dialect(one: Served, stream: bool) -> None:
    door = TestClient(make_door({"tiny": one}, Access(), timeout_s=0.001), base_url=LOCAL)
    body = {"model": "tiny", "messages": TURN, "max_tokens": 300, "stream": stream}
    for path in ("/v1/chat/completions", "/v1/messages", "/api/chat"):
        got = door.post(path, json=body)
        assert got.status_code == (200 if stream else 408)
        assert "not whole within" in got.text
    if not stream:
        assert got.headers["x-should-retry"] == "false", "it would take as long again"


def test_metrics_count_requests_tokens_and_waits_and_tell_nothing_of_them(door: TestClient) -> None:
    body = {"model": "tiny", "messages": TURN, "max_tokens": 5, "logit_bias": {"0": -100}}
    for stream in (True, False):
        door.post("/v1/chat/completions", json=body | {"stream": stream, "n": 2})
    door.post("/v1/chat/completions", content=b"{")
    door.get("/nothing/secret")
    text = door.get("/metrics").text
    found = values(text)
    path = "/v1/chat/completions"
    assert found["archipel_serve_requests_total", path, "200"] == 2
    assert found["archipel_serve_requests_total", path, "400"] == 1
    assert found["archipel_serve_requests_total", "none", "404"] == 1
    assert found["archipel_serve_refusals_total", "BadQuestion"] == 1
    assert found["archipel_serve_first_token_seconds_count",] == 2
    num_tokens = found["archipel_serve_tokens_total",]
    assert 4 <= num_tokens <= 20
    assert found["archipel_serve_between_tokens_seconds_count",] <= num_tokens - 4
    assert found["archipel_serve_positions_read",] > 0, "what the engine counts"
    assert found["archipel_serve_running",] == found["archipel_serve_waiting",] == 0
    assert "tiny" not in text
    assert "secret" not in text


def test_whether_it_is_well_is_told_to_anybody_and_what_it_does_to_who_has_a_key(
    one: Served,
) -> None:
    door = TestClient(make_door({"tiny": one}, Access(frozenset(), (KEY,))), base_url=LOCAL)
    assert door.get("/health").json() == {"status": "ok"}
    for path in ("/metrics", "/openapi.json"):
        assert door.get(path).status_code == 401
    headers = {"authorization": f"Bearer {KEY}"}
    assert door.get("/health", headers=headers).json()["running"] == 0
    assert "archipel_serve_waiting" in door.get("/metrics", headers=headers).text
    door = TestClient(
        make_door({"tiny": one}, Access(frozenset(), (KEY[::-1], KEY))), base_url=LOCAL
    )
    got = door.get("/metrics", headers=headers)
    assert got.status_code == 403, (
        "sums over all keys are the first one's: others could take their own from it"
    )
    assert "first key" in got.json()["error"]["message"]
    assert door.get("/health", headers=headers).json().keys() == {"status", "version", "models"}
    assert door.get("/openapi.json", headers=headers).status_code == 200
    local = TestClient(make_door({"tiny": one}, Access()), base_url=LOCAL)
    assert local.get("/health", headers={"host": "rebound.example"}).status_code == 403


def test_every_route_is_described_with_the_fields_that_it_reads(door: TestClient) -> None:
    found = door.get("/openapi.json").json()
    chat = found["paths"]["/v1/chat/completions"]["post"]
    place = chat["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert {"messages", "seed", "tools"} <= found["components"]["schemas"][place][
        "properties"
    ].keys()
    assert found["paths"]["/metrics"]["get"]
    assert door.get("/openapi.json").status_code == 200, "twice"


class Defect:
    """Something served that fails in a way that nobody thought of, quoting what it was asked."""

    name, since, fingerprint, positions, chat_template = "tiny", 0, "", 9, None

    def counts(self) -> dict[str, int]:
        return {"waiting": 0, "running": 0}

    async def ask(self, *_: object) -> Any:
        raise ZeroDivisionError(TURN[0]["content"])

    count = ask


def test_a_defect_is_told_in_the_dialects_form_and_logged_without_the_question(
    caplog: pytest.LogCaptureFixture,
) -> None:
    door = TestClient(make_door({"tiny": Defect()}, Access()), base_url=LOCAL)
    body = {"model": "tiny", "messages": TURN, "max_tokens": 3}
    forms = {
        "/v1/chat/completions": lambda said: said["error"]["message"],
        "/v1/messages": lambda said: said["error"]["message"],
        "/api/chat": lambda said: said["error"],
    }
    for path, message in forms.items():
        got = door.post(path, json=body)
        assert got.status_code == 500
        assert "ZeroDivisionError" in message(got.json())
    assert "test_serve_tally.py" in caplog.text
    assert "secret" not in caplog.text


def test_what_a_path_does_not_know_is_told_what_it_knows(door: TestClient) -> None:
    got = door.get("/v1/chat/completions")
    assert got.status_code == 405
    assert got.headers["allow"] == "POST"
    flight = {"origin": "https://x.example", "access-control-request-method": "POST"}
    asked = door.options("/v1/chat/completions", headers=flight)
    assert asked.status_code == 405
    assert not [name for name in asked.headers if name.startswith("access-control")]
    assert json.loads(asked.text)["error"]["type"] == "invalid_request_error"


def test_refusals_have_a_status_that_no_client_takes_for_a_defect() -> None:
    """But for those that are one."""
    from archipel.serve import question

    for kind in vars(question).values():
        if isinstance(kind, type) and issubclass(kind, Refusal):
            assert kind.status < 500 or issubclass(kind, question.Broken)
