"""Whatever a model says under a schema is a document of it, with random weights too; nothing beside it is touched."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import torch
from starlette.testclient import TestClient

from archipel.engine.engine import LocalEngine
from archipel.model.directory import read_config, read_model
from archipel.records.requests import Request
from archipel.serve import grammar
from archipel.serve.access import Access
from archipel.serve.door import make_door
from archipel.serve.question import Bends, Form
from archipel.serve.served import Served
from archipel.serve.steering import Mask, Steered
from archipel.work.folders import weights_of
from serve.served_models import served, tiny_model

pytest.importorskip("llguidance")
TURN = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("grammar") / "tiny")


@pytest.fixture(scope="module")
def one(model: Path) -> Iterator[Served]:
    found = served(model)
    yield found
    found.desk.close()


@pytest.fixture
def door(one: Served) -> TestClient:
    return TestClient(make_door({"tiny": one}, Access()), base_url="http://127.0.0.1:8450")


def schema(draw: random.Random, depth: int = 0) -> dict[str, Any]:
    """A schema whose documents are short."""
    plain: list[dict[str, Any]] = [
        {"type": "boolean"},
        {"type": "null"},
        {"type": "integer", "minimum": -9, "maximum": 99},
        {"enum": draw.sample(["a", "bb", "c d", 7, None], draw.randint(1, 4))},
        {"const": draw.choice(["x", 3, True])},
        {"type": "string", "maxLength": draw.randint(0, 4)},
        {"type": "string", "pattern": draw.choice(["^[a-c]{2}$", "^x+y?$"]), "maxLength": 3},
    ]
    if depth > 1 or draw.random() < 0.4:
        return draw.choice(plain)
    if draw.random() < 0.3:
        return {"type": "array", "items": schema(draw, depth + 1), "maxItems": 2}
    names = [f"k{number}" for number in range(draw.randint(1, 3))]
    return {
        "type": "object",
        "properties": {name: schema(draw, depth + 1) for name in names},
        "required": [name for name in names if draw.random() < 0.7],
        "additionalProperties": False,
    }


def asked(form: Any, seed: int, most: int = 300) -> dict[str, Any]:
    return {
        "model": "tiny", "messages": TURN, "max_tokens": most, "seed": seed,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": form}},
    }  # fmt: skip


def check(door: TestClient, seeds: range) -> int:
    whole = 0
    for seed in seeds:
        form = schema(random.Random(seed))
        got = door.post("/v1/chat/completions", json=asked(form, seed))
        if got.status_code != 200:
            assert "not understood" in got.json()["error"]["message"], got.text
            continue
        (choice,) = got.json()["choices"]
        if choice["finish_reason"] == "length":
            continue
        jsonschema_rs.validate(form, json.loads(choice["message"]["content"]))
        whole += 1
    return whole


def test_an_answer_under_a_schema_is_a_document_of_it(door: TestClient) -> None:
    assert check(door, range(40)) >= 38


@pytest.mark.slow
def test_so_it_is_for_a_thousand_schemas(door: TestClient) -> None:
    assert check(door, range(1000)) >= 950


def test_any_object_is_an_object_and_streams_as_it_is_said(door: TestClient) -> None:
    body = {"model": "tiny", "messages": TURN, "max_tokens": 60, "seed": 1}
    form = {"response_format": {"type": "json_object"}}
    said = door.post("/v1/chat/completions", json=body | form).json()["choices"][0]
    assert said["message"]["content"].startswith("{")
    options = {"num_predict": 200, "seed": 3}
    small = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    lines = door.post(
        "/api/chat", json={"model": "tiny", "messages": TURN, "options": options, "format": small}
    ).text
    text = "".join(json.loads(line)["message"]["content"] for line in lines.splitlines())
    assert json.loads(text) in ({"a": True}, {"a": False})


class Nothing(Mask):
    """A grammar that has come to a dead end."""

    def leave(self, logits_V: torch.Tensor) -> bool:
        return False

    def took(self, token: int) -> None:
        raise AssertionError(token)


def test_a_dead_end_ends_the_answer_and_says_so(
    one: Served, door: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(one.grammars), "masks", lambda self, form: Nothing)
    got = door.post("/v1/chat/completions", json=asked({"type": "null"}, 1))
    assert got.status_code == 422
    assert "not whole" in got.json()["error"]["message"]


class Clock:
    """Processor time of a thread; making one mask takes `each_s`."""

    def __init__(self, each_s: float) -> None:
        self.now_s, self.each_s, self.is_begun = 0.0, each_s, False

    def thread_time(self) -> float:
        self.now_s += self.each_s if self.is_begun else 0.0
        self.is_begun = not self.is_begun
        return self.now_s


def test_masks_have_so_much_time_in_all_and_each_answer_its_own(
    one: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer may take long with a few masks, or no longer than its tokens earn with each; then it ends and says so."""
    form = Form.of({"type": "array", "items": {"type": "integer"}}, "x")
    (opening,), (digit,) = (one.tokenizer.encode(each) for each in "[1")

    def followed(each_s: float, most: int) -> tuple[int, dict[int, str]]:
        monkeypatch.setattr(grammar, "time", Clock(each_s))
        steered = Steered(Bends(), one.grammars.masks(form), one.tokenizer.stop_ids)
        hand = steered.hand(0)
        for step in range(most):
            logits = torch.zeros(one.grammars._size)
            hand.steer(logits)
            if steered.faults:
                assert logits.isfinite().nonzero().flatten().tolist() == sorted(
                    set(one.tokenizer.stop_ids)
                )
                return step, steered.faults
            hand.took(digit if step else opening)
        return most, steered.faults

    assert followed(grammar.PATIENCE_EACH_S * 0.99, 400) == (400, {})
    few = int(grammar.PATIENCE_S // (1.0 - grammar.PATIENCE_EACH_S))
    for _ in range(2):
        steps, faults = followed(1.0, 400)
        assert steps == few
        assert "takes too long to follow" in faults[0]


def test_what_bends_one_answer_changes_no_bit_of_those_beside_it(model: Path, one: Served) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        engine = LocalEngine(read_config(model), dtype=dtype)
        engine.load(weights_of(read_model(model)))
        stops = one.tokenizer.stop_ids
        plain = Request("plain", (5, 6, 7), 1, 3, 20, 0.7, stops)
        mask = one.grammars.masks(Form.of({"type": "integer"}, "x"))
        bends = Bends({9: 5.0}, 1.0, 0.5)
        bent = Request(
            "bent", (5, 6, 7), 1, 2, 20, 0.7, stops, steering=Steered(bends, mask, stops)
        )
        alone = engine.generate([plain])
        beside = engine.generate([bent, plain])
        assert beside[1:] == alone
        again = Request(
            "bent", (5, 6, 7), 1, 2, 20, 0.7, stops, steering=Steered(bends, mask, stops)
        )
        assert engine.generate([again])[0] == beside[0]


def test_biases_and_penalties_do_what_they_say(door: TestClient, one: Served) -> None:
    (wanted,) = one.tokenizer.encode("q")
    body = {"model": "tiny", "messages": TURN, "max_tokens": 12, "temperature": 0}
    said = door.post("/v1/chat/completions", json=body | {"logit_bias": {str(wanted): 100}}).json()
    assert said["choices"][0]["message"]["content"] == "q" * 12
    both = body | {"logit_bias": {str(wanted): 100}, "frequency_penalty": 2, "presence_penalty": 2}
    again = door.post("/v1/chat/completions", json=both).json()
    assert again["choices"][0]["message"]["content"] == "q" * 12, (
        "a bias of 100 outweighs a dozen penalties"
    )
    strong = body | {"frequency_penalty": 2, "presence_penalty": 2}
    text = door.post("/v1/chat/completions", json=strong | {"max_tokens": 40}).json()["choices"][0][
        "message"
    ]["content"]
    plain = door.post("/v1/chat/completions", json=body | {"max_tokens": 40}).json()["choices"][0][
        "message"
    ]["content"]
    assert len(set(text)) > len(set(plain))
