"""The door: each dialect's answers are the engine's own, faults are told in its form, and only who may asks."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from archipel.engine.engine import LocalEngine
from archipel.model.dialogue import chat_ids
from archipel.model.directory import read_config, read_model
from archipel.records.requests import Request
from archipel.serve.access import Access
from archipel.serve.door import make_door
from archipel.serve.served import Served
from archipel.work.folders import weights_of
from serve.served_models import NOW, served, tiny_model

TURN = [{"role": "user", "content": "hi"}]
LOCAL = "http://127.0.0.1:8450"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("served") / "tiny")


@pytest.fixture(scope="module")
def one(model: Path) -> Iterator[Served]:
    found = served(model)
    yield found
    found.desk.close()


@pytest.fixture
def door(one: Served) -> TestClient:
    return TestClient(make_door({"tiny": one}, Access()), base_url=LOCAL)


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": TURN, "max_tokens": 8, "seed": 5} | more


def events(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_an_answer_is_what_the_engine_samples_by_itself(
    door: TestClient, one: Served, model: Path
) -> None:
    engine = LocalEngine(read_config(model))
    engine.load(weights_of(read_model(model)))
    prompt = tuple(chat_ids(one.tokenizer, TURN, now=NOW))
    request = Request("", prompt, 5, 2, 8, 0.7, one.tokenizer.stop_ids)
    expected = [one.tokenizer.decode(each.tokens) for each in engine.generate([request])[0]]
    got = door.post("/v1/chat/completions", json=chat(temperature=0.7, n=2)).json()
    assert [each["message"]["content"] for each in got["choices"]] == expected
    assert got["usage"]["prompt_tokens"] == len(prompt)


def test_a_stream_says_what_the_whole_says_in_every_dialect(door: TestClient) -> None:
    whole = door.post("/v1/chat/completions", json=chat(temperature=0)).json()
    text = whole["choices"][0]["message"]["content"]
    streamed = door.post(
        "/v1/chat/completions",
        json=chat(temperature=0, stream=True, stream_options={"include_usage": True}),
    )
    chunks = events(streamed.text)
    assert streamed.text.endswith("data: [DONE]\n\n")
    said = [row["delta"].get("content", "") for each in chunks for row in each["choices"]]
    assert "".join(said) == text
    assert chunks[-1]["usage"] == whole["usage"]
    options = {"temperature": 0, "num_predict": 8}
    lines = door.post("/api/chat", json={"model": "tiny", "messages": TURN, "options": options})
    rows = [json.loads(line) for line in lines.text.splitlines()]
    assert "".join(row["message"]["content"] for row in rows) == text
    assert rows[-1]["done"]
    assert [row["done"] for row in rows[:-1]] == [False] * (len(rows) - 1)
    body = {"model": "tiny", "max_tokens": 8, "temperature": 0, "messages": TURN}
    told = events(door.post("/v1/messages", json=body | {"stream": True}).text)
    deltas = [each["delta"]["text"] for each in told if each["type"] == "content_block_delta"]
    assert "".join(deltas) == text
    assert door.post("/v1/messages", json=body).json()["content"][0]["text"] == text


def test_who_hangs_up_is_answered_no_more(door: TestClient, one: Served) -> None:
    for _ in range(3):
        with door.stream(
            "POST", "/v1/chat/completions", json=chat(stream=True, max_tokens=400)
        ) as answer:
            next(answer.iter_lines())
    assert one.desk.counts()["waiting"] == 0


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "no JSON"),
        (b'{"model": "\xed\xa0\x80"}', 400, "no JSON"),
        (b"[1]", 400, "expected a JSON object"),
        (b"[" * 100_000, 400, "no JSON"),
        (chat(model="other"), 404, "there are tiny"),
        (chat(max_tokens=10_000), 400, "context of 512"),
        (chat(max_tokens=0), 400, "max_new_tokens"),
        (chat(temperature=-1), 400, "temperature"),
        (chat(temperature="hot"), 400, "temperature"),
        (chat(top_p=0), 400, "top_p"),
        (chat(n=10_000), 400, "choices"),
        (chat(n=0), 400, "choices"),
        (chat(stop=[""]), 400, "stop"),
        (chat(messages=[]), 400, "messages"),
        (chat(messages=[{"role": "king", "content": "x"}]), 400, "role"),
        (chat(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), 400, "text alone"),
        (chat(logit_bias={"x": 1}), 400, "ids of tokens"),
        (chat(logit_bias={"5": 101}), 400, "logit_bias"),
        (chat(presence_penalty=2.5), 400, "presence_penalty"),
        (chat(response_format={"type": "xml"}), 400, "response_format"),
        (chat(response_format={"type": "json_schema", "json_schema": {"schema": {"type": 5}}}), 400, "not understood"),
        (chat(top_logprobs=3), 400, "without logprobs"),
        (chat(top_logprobs=21, logprobs=True), 400, "0 to 20"),
        (chat(tool_choice="required"), 400, "there are no tools"),
        (chat(tool_choice={"type": "function", "function": {"name": "y"}}, tools=[{"function": {"name": "x"}}]), 400, "expected one of x"),
        (chat(tool_choice="all"), 400, "expected auto"),
        (chat(repetition_penalty=1.2), 400, "not done here"),
        (chat(guided_choice=["a"]), 400, "not done here"),
        (chat(tools=[{"type": "function"}]), 400, "a tool has no name"),
        (chat(tools=[{"function": "x"}]), 400, "a tool has no name"),
        (chat(tools=[{"function": {"name": [1]}}]), 400, "a tool has no name"),
        (chat(stop=["\ud800"]), 400, "no character"),
        (chat(messages=[{"role": "user", "content": "\udfff<eos>"}]), 400, "no character"),
        ({"model": "tiny"}, 400, "messages"),
    ],
)  # fmt: skip
def test_bad_questions_get_one_sentence_in_the_dialects_own_form(
    door: TestClient, body: Any, status: int, words: str
) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    got = door.post("/v1/chat/completions", content=data)
    assert got.status_code == status
    assert re.search(words, got.json()["error"]["message"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"messages": TURN, "tools": [{"function": "x"}]}),
        ("/api/chat", {"messages": [{"role": "user", "content": "\ud800"}]}),
        ("/api/generate", {"prompt": "x", "options": {"stop": ["\ud800"]}}),
        ("/v1/messages", {"max_tokens": 3, "messages": TURN, "system": "\ud800<bos>"}),
        ("/v1/messages", {"max_tokens": 3, "messages": TURN, "tools": [{"name": ""}]}),
        ("/v1/responses", {"input": "hi", "tools": [{"type": "function"}]}),
        ("/v1/responses", {"input": "\udc00"}),
    ],
)  # fmt: skip
def test_what_no_model_can_read_is_refused_in_every_dialect(
    door: TestClient, path: str, body: dict[str, Any]
) -> None:
    assert door.post(path, content=json.dumps({"model": "tiny"} | body)).status_code == 400


def test_a_whole_pair_is_a_character(door: TestClient) -> None:
    body = json.dumps(chat(messages=[{"role": "user", "content": "🦊"}]))
    assert "\\ud83e" in body
    assert door.post("/v1/chat/completions", content=body).status_code == 200


def test_each_dialect_has_its_own_form_for_what_it_refuses(door: TestClient) -> None:
    assert door.post("/api/chat", json={"model": "no"}).json() == {
        "error": "no model 'no' here; there are tiny"
    }
    said = door.post("/v1/messages", json={"model": "no", "max_tokens": 1, "messages": TURN}).json()
    assert said["type"] == "error"
    assert door.get("/nothing").json()["error"]["type"] == "invalid_request_error"
    assert door.get("/v1/chat/completions").status_code == 405


def test_other_names_and_other_sites_pages_are_sent_away(door: TestClient) -> None:
    for headers in ({"host": "rebound.example"}, {"origin": "https://other.example"}, {"host": ""}):
        assert door.get("/v1/models", headers=headers).status_code == 403, headers
    own = {"origin": LOCAL}
    assert door.get("/v1/models", headers=own).status_code == 200


def test_where_there_is_a_key_nobody_is_answered_without_it(one: Served) -> None:
    door = TestClient(make_door({"tiny": one}, Access(frozenset(), ("right",))), base_url=LOCAL)
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "right "},
        {"x-api-key": ""},
    ):
        got = door.post("/v1/chat/completions", json=chat(), headers=headers)
        assert got.status_code == 401, headers
    for headers in ({"authorization": "Bearer right"}, {"x-api-key": "right"}):
        assert door.get("/v1/models", headers=headers).status_code == 200


def test_what_a_client_looks_up_is_there(door: TestClient) -> None:
    assert [each["id"] for each in door.get("/v1/models").json()["data"]] == ["tiny"]
    assert door.get("/v1/models/tiny").json()["id"] == "tiny"
    assert door.get("/v1/models/other").status_code == 404
    assert door.get("/api/tags").json()["models"][0]["name"] == "tiny"
    assert (
        door.post("/api/show", json={"model": "tiny:latest"}).json()["capabilities"][0]
        == "completion"
    )
    assert door.get("/api/version").json()["version"]
    assert door.get("/health").json()["status"] == "ok"
    asked = {"model": "tiny", "messages": TURN}
    counted = door.post("/v1/messages/count_tokens", json=asked).json()["input_tokens"]
    assert (
        counted == door.post("/v1/chat/completions", json=chat()).json()["usage"]["prompt_tokens"]
    )


def test_a_text_is_gone_on_with(door: TestClient) -> None:
    body = {"model": "tiny", "prompt": "abc", "max_tokens": 4, "temperature": 0, "logprobs": 0}
    got = door.post("/v1/completions", json=body).json()["choices"][0]
    assert len(got["logprobs"]["token_logprobs"]) == 4
    assert "".join(got["logprobs"]["tokens"]).startswith(got["text"][:1])


def test_the_page_is_this_packages_own_and_asks_nobody_else(door: TestClient, one: Served) -> None:
    for path, kind in (
        ("/", "text/html"),
        ("/page/page.js", "text/javascript"),
        ("/page/page.css", "text/css"),
    ):
        got = door.get(path)
        assert got.status_code == 200
        assert got.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in got.headers["content-security-policy"]
        assert "http:" not in got.text
        assert "https:" not in got.text
        assert "innerHTML" not in got.text, "what a model says is text, never markup"
    for path in ("/page/other", "/page/..%2fdoor.py", "/page/"):
        assert door.get(path).status_code == 404
    assert door.get("/", headers={"host": "rebound.example"}).status_code == 403
    locked = TestClient(make_door({"tiny": one}, Access(frozenset(), ("right",))), base_url=LOCAL)
    assert locked.get("/").status_code == 200, "the page asks for the key"
