"""Fields that change an answer do so in every dialect that has them, or are refused by name."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import torch
from starlette.testclient import TestClient

from archipel.engine.engine import LocalEngine
from archipel.model.directory import read_config, read_model
from archipel.records.cuts import Cut
from archipel.records.requests import Request
from archipel.serve.access import Access
from archipel.serve.asking import asking_of
from archipel.serve.door import make_door
from archipel.serve.question import Bends, Calling, Question, Settings
from archipel.serve.served import Served
from archipel.serve.steering import Look, Steered
from archipel.work.folders import weights_of
from serve.served_models import NOW, TEMPLATE, served, tiny_model

TURN = [{"role": "user", "content": "hi"}]
PLACE = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "maximum": 9, "minimum": 1}},
    "required": ["city", "days"],
    "additionalProperties": False,
}  # fmt: skip
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": PLACE}}
NOTHING = {"type": "function", "function": {"name": "no\"thing", "parameters": {"type": "object", "additionalProperties": False}}}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    brief = TEMPLATE.replace("{{ tools | tojson }}", "")  # every byte is a token
    return tiny_model(tmp_path_factory.mktemp("fields") / "tiny", brief)


@pytest.fixture(scope="module")
def one(model: Path) -> Iterator[Served]:
    found = served(model)
    yield found
    found.desk.close()


@pytest.fixture
def door(one: Served) -> TestClient:
    return TestClient(make_door({"tiny": one}, Access()), base_url="http://127.0.0.1:8450")


def chat(door: TestClient, **more: Any) -> dict[str, Any]:
    (choice,) = choices(door, **more)
    return choice


def choices(door: TestClient, **more: Any) -> list[dict[str, Any]]:
    body = {"model": "tiny", "messages": TURN, "max_tokens": 6, "seed": 5} | more
    got = door.post("/v1/chat/completions", json=body)
    assert got.status_code == 200, got.text
    return got.json()["choices"]


def engine_of(model: Path) -> LocalEngine:
    engine = LocalEngine(read_config(model))
    engine.load(weights_of(read_model(model)))
    return engine


@pytest.mark.parametrize(
    ("temperature", "cut"), [(0.0, None), (0.7, Cut(top_k=5)), (1.0, None), (1.0, Cut(top_p=0.2))]
)
def test_the_likeliest_are_those_that_are_sampled_from_and_looking_changes_no_bit(
    model: Path, temperature: float, cut: Cut | None
) -> None:
    engine = engine_of(model)
    look = Steered(Bends(), None, (), Look(300, temperature, cut))
    plain = Request("plain", (5, 6, 7), 1, 3, 9, temperature, cut=cut)
    seen = Request("seen", (5, 6, 7), 1, 3, 9, temperature, cut=cut, steering=look)
    (rollouts,), (again,) = engine.generate([plain]), engine.generate([seen])
    assert again == rollouts
    for rollout, each in enumerate(rollouts):
        tops = look.tops[rollout]
        assert len(tops) == len(each.tokens)
        for top, token, logprob in zip(tops, each.tokens, each.logprobs, strict=True):
            assert dict(top)[token] == pytest.approx(logprob, abs=1e-6)
            assert sum(math.exp(one) for _, one in top) == pytest.approx(1, abs=1e-4)
            assert [one for _, one in top] == sorted((one for _, one in top), reverse=True)
            assert cut is None or not cut.top_k or len(top) == cut.top_k


def test_every_dialect_tells_the_same_likeliest_tokens(door: TestClient) -> None:
    said = chat(door, logprobs=True, top_logprobs=3, temperature=0)
    rows = said["logprobs"]["content"]
    assert [len(row["top_logprobs"]) for row in rows] == [3] * 6
    assert all(row["top_logprobs"][0]["token"] == row["token"] for row in rows), "greedy"
    assert chat(door, logprobs=True, temperature=0)["logprobs"]["content"][0]["top_logprobs"] == []
    sampled = chat(door, logprobs=True, top_logprobs=20, max_tokens=30)["logprobs"]["content"]
    seen = [
        (row["logprob"], each["logprob"])
        for row in sampled
        for each in row["top_logprobs"]
        if each["bytes"] == row["bytes"] != []
    ]
    assert len(seen) > 2
    assert all(one == pytest.approx(other, abs=1e-6) for one, other in seen), "its own place's"
    options = {"temperature": 0, "num_predict": 6}
    asked = {"model": "tiny", "messages": TURN, "options": options, "stream": False}
    told = door.post("/api/chat", json=asked | {"logprobs": True, "top_logprobs": 3}).json()
    assert told["logprobs"] == rows
    assert "logprobs" not in door.post("/api/chat", json=asked).json()
    body = {"model": "tiny", "input": "hi", "temperature": 0, "max_output_tokens": 6}
    more = {"include": ["message.output_text.logprobs"], "top_logprobs": 3}
    whole = door.post("/v1/responses", json=body | more).json()
    assert whole["output"][0]["content"][0]["logprobs"] == rows
    streamed = door.post("/v1/responses", json=body | more | {"stream": True}).text
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: ")]
    deltas = [each for each in events if each["type"] == "response.output_text.delta"]
    assert [row for each in deltas for row in each["logprobs"]] == rows
    assert events[-1]["response"]["output"][0]["content"][0]["logprobs"] == rows


def test_old_completions_tell_up_to_five_and_stream_what_they_tell_whole(door: TestClient) -> None:
    body = {"model": "tiny", "prompt": "abc", "max_tokens": 5, "temperature": 0, "logprobs": 2}
    whole = door.post("/v1/completions", json=body).json()["choices"][0]["logprobs"]
    assert [len(each) for each in whole["top_logprobs"]] == [2] * 5
    streamed = door.post("/v1/completions", json=body | {"stream": True}).text
    rows = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    told = [each["choices"][0]["logprobs"] for each in rows]
    for name, values in whole.items():
        assert [value for each in told if each for value in each[name]] == values
    assert door.post("/v1/completions", json=body | {"logprobs": 6}).status_code == 400


def test_a_completion_may_be_a_document_and_go_on_from_tokens(
    door: TestClient, one: Served
) -> None:
    pytest.importorskip("llguidance")
    body = {"model": "tiny", "prompt": "abc", "max_tokens": 60, "seed": 2}
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": PLACE}}
    said = door.post("/v1/completions", json=body | {"response_format": schema}).json()
    jsonschema_rs.validate(PLACE, json.loads(said["choices"][0]["text"]))
    expected = door.post("/v1/completions", json=body).json()["choices"]
    ids = list(one.tokenizer.encode_prompt("abc"))
    for prompt in (ids, ["abc"]):
        got = door.post("/v1/completions", json=body | {"prompt": prompt}).json()["choices"]
        assert got == expected
    assert door.post("/v1/completions", json=body | {"prompt": ["a", "b"]}).status_code == 400


def test_a_forced_call_is_one_with_random_weights_too(door: TestClient) -> None:
    pytest.importorskip("llguidance")
    asked = {"tools": [NOTHING, WEATHER], "max_tokens": 110, "n": 2}
    for tool in (NOTHING, WEATHER):
        name, schema = (tool["function"][each] for each in ("name", "parameters"))
        named = {"type": "function", "function": {"name": name}}
        for said in choices(door, **asked, tool_choice=named):
            (call,) = said["message"]["tool_calls"]
            assert (call["function"]["name"], said["finish_reason"]) == (name, "tool_calls")
            jsonschema_rs.validate(schema, json.loads(call["function"]["arguments"]))


@pytest.mark.slow
def test_a_call_of_any_tool_is_forced_in_every_dialect_that_knows_how(door: TestClient) -> None:
    pytest.importorskip("llguidance")
    asked = {"tools": [NOTHING, WEATHER], "max_tokens": 110, "n": 3}
    for said in choices(door, **asked, tool_choice="required"):
        assert len(said["message"]["tool_calls"]) == 1
    for said in choices(door, **asked, tool_choice="required", parallel_tool_calls=True):
        assert said["message"].get("tool_calls") or said["finish_reason"] == "length"
    tool = {"name": "weather", "input_schema": PLACE}
    body = {"model": "tiny", "messages": TURN, "max_tokens": 110, "tools": [tool]}
    for choice in ({"type": "any"}, {"type": "tool", "name": "weather"}):
        said = door.post("/v1/messages", json=body | {"tool_choice": choice}).json()
        assert {each["type"] for each in said["content"]} == {"tool_use"}, said
        jsonschema_rs.validate(PLACE, said["content"][0]["input"])
    flat = {"type": "function", "name": "weather", "parameters": PLACE}
    asked = {"model": "tiny", "input": "hi", "max_output_tokens": 110, "tools": [flat]}
    choice = {"tool_choice": {"type": "function", "name": "weather"}}
    said = door.post("/v1/responses", json=asked | choice).json()
    assert [each["type"] for each in said["output"]][-1] == "function_call"


def test_a_document_may_be_asked_for_beside_tools(door: TestClient) -> None:
    pytest.importorskip("llguidance")
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": PLACE}}
    for said in choices(door, tools=[WEATHER], response_format=schema, max_tokens=110, n=2):
        calls = said["message"].get("tool_calls")
        document = calls[0]["function"]["arguments"] if calls else said["message"]["content"]
        jsonschema_rs.validate(PLACE, json.loads(document))


def test_text_streams_while_tools_are_offered(door: TestClient) -> None:
    body = {"model": "tiny", "messages": TURN, "max_tokens": 30, "seed": 4, "tools": [WEATHER]}
    streamed = door.post("/v1/chat/completions", json=body | {"stream": True}).text
    rows = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    said = [each["choices"][0]["delta"].get("content") or "" for each in rows]
    assert sum(map(bool, said)) > 3
    whole = door.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]
    assert "".join(said) == whole["content"]


def test_the_penalty_for_repetition_divides_what_is_positive_and_multiplies_what_is_not() -> None:
    steered = Steered(Bends(repeat=2.0, recent=3), None, (), prompt=(0, 1, 2, 3))
    hand = steered.hand(0)
    hand.took(4)
    logits = torch.tensor([1.0, 1.0, 1.0, -1.0, 3.0, 5.0])
    hand.steer(logits)
    assert logits.tolist() == [1.0, 1.0, 0.5, -2.0, 1.5, 5.0], (
        "the last three, the prompt's among them"
    )
    everything = Steered(Bends(repeat=2.0, recent=-1), None, (), prompt=(0, 1)).hand(0)
    logits = torch.ones(3)
    everything.steer(logits)
    assert logits.tolist() == [0.5, 0.5, 1.0]
    assert not Steered(Bends(), None, ()).is_needed


def test_ollamas_options_bend_or_are_refused_by_name(door: TestClient) -> None:
    def said(**options: Any) -> str:
        held = {"temperature": 0, "num_predict": 16} | options
        asked = {"model": "tiny", "messages": TURN, "stream": False, "options": held}
        got = door.post("/api/chat", json=asked).json()
        return got.get("error") or got["message"]["content"]

    assert len(set(said(repeat_penalty=9))) > len(set(said()))
    assert said(repeat_penalty=9, repeat_last_n=0) == said() == said(repeat_penalty=1, mirostat=0)
    assert "repeat_penalty" in said(repeat_penalty=-1)
    assert "mirostat is not done here" in said(mirostat=2)
    assert "typical_p is not done here" in said(typical_p=0.5)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/responses", {"input": "x", "stop": ["a"]}, "stop is not done here"),
        ("/v1/messages", {"max_tokens": 3, "messages": TURN, "stop": ["a"]}, "stop is not done"),
        ("/v1/messages", {"max_tokens": 3, "messages": TURN, "tool_choice": {"type": "tool"}}, "names no tool"),
        ("/v1/messages", {"max_tokens": 3, "messages": TURN, "thinking": {"type": "enabled"}}, "thinking"),
        ("/v1/completions", {"prompt": "x", "echo": True}, "echo is not done"),
        ("/api/chat", {"messages": TURN, "top_logprobs": 2}, "without logprobs"),
    ],
)  # fmt: skip
def test_what_would_change_an_answer_and_is_not_done_is_refused(
    door: TestClient, path: str, body: dict[str, Any], words: str
) -> None:
    got = door.post(path, json={"model": "tiny"} | body)
    assert got.status_code == 400
    assert words in got.text


def test_fields_that_say_what_is_so_anyway_are_taken(door: TestClient) -> None:
    chat(door, modalities=["text"], n=1, repetition_penalty=1.0, functions=[], store=False)
    body = {"model": "tiny", "max_tokens": 3, "messages": TURN, "thinking": {"type": "disabled"}}
    assert door.post("/v1/messages", json=body).status_code == 200


def test_where_at_most_one_call_is_allowed_the_answer_ends_with_its_first(one: Served) -> None:
    question = Question("tiny", Settings(stop=("x",)), tuple(TURN), tools=(WEATHER,))
    single = replace(question, calling=Calling(is_single=True))
    assert asking_of(one, question, NOW).stops == ("x",)
    assert asking_of(one, single, NOW).stops == ("x", "</tool_call>")
    assert asking_of(one, replace(single, tools=()), NOW).stops == ("x",)
