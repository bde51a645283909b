"""The calls that Open WebUI 0.12 makes, of its OpenAI and of its Ollama connections, as plain HTTP.

Its paths are those of field notes: it reads lists and streams, and treats a connection without `/api/version` as dead.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from archipel.serve.access import Access
from archipel.serve.door import make_door
from archipel.serve.served import Served
from serve.served_models import served, tiny_model

KEY = "sk-right"
TURNS = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = served(tiny_model(tmp_path_factory.mktemp("webui") / "tiny"))
    yield found
    found.desk.close()


@pytest.fixture
def door(one: Served) -> TestClient:
    """It runs in a container beside the server: under another name, with a key."""
    access = Access(frozenset(), (KEY,))
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    base = "http://host.docker.internal:8450"
    return TestClient(make_door({"tiny": one}, access), base_url=base, headers=headers)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_its_openai_connection_lists_chats_titles_and_embeds(door: TestClient) -> None:
    listed = door.get("/v1/models").json()
    assert [(each["id"], each["object"]) for each in listed["data"]] == [("tiny", "model")]
    chat = {
        "model": "tiny",
        "messages": TURNS,
        "stream": True,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 8,
    }
    more = {"stream_options": {"include_usage": True}, "user": "somebody", "metadata": {"chat_id": "x"}}  # fmt: skip
    streamed = door.post("/v1/chat/completions", json=chat | more)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.text.endswith("data: [DONE]\n\n")
    greedy = {"temperature": 0}  # by chance the first token may be the end
    title = {"model": "tiny", "messages": TURNS, "stream": False, "max_completion_tokens": 8}
    assert door.post("/v1/chat/completions", json=title | greedy).json()["choices"][0]["message"][
        "content"
    ]
    answered = {"model": "tiny", "input": TURNS, "stream": True, "max_output_tokens": 8}
    assert "response.incomplete" in door.post("/v1/responses", json=answered | greedy).text
    embedded = door.post("/v1/embeddings", json={"model": "tiny", "input": ["a", "b"]}).json()
    assert [each["index"] for each in embedded["data"]] == [0, 1]
    refused = door.post("/v1/audio/speech", json={"model": "tiny", "input": "x", "voice": "a"})
    assert refused.status_code == 404
    assert refused.json()["error"]["message"]


def test_its_ollama_connection_looks_chats_and_embeds(door: TestClient) -> None:
    assert door.get("/api/version").json()["version"]
    for path in ("/api/tags", "/api/ps"):
        (listed,) = door.get(path).json()["models"]
        assert {"name", "model", "modified_at", "size", "digest", "details"} <= listed.keys()
    shown = door.post("/api/show", json={"name": "tiny"}).json()
    assert {"template", "details", "model_info", "capabilities"} <= shown.keys()
    options = {
        "temperature": 0.8,
        "num_ctx": 512,
        "num_predict": 8,
        "repeat_penalty": 1.1,
        "top_k": 40,
    }
    chat = {
        "model": "tiny:latest",
        "messages": TURNS,
        "stream": True,
        "options": options,
        "keep_alive": "5m",
    }
    told = lines(door.post("/api/chat", json=chat).text)
    assert told[-1]["done"]
    assert 1 <= told[-1]["eval_count"] <= 8
    spent = told[-1]["prompt_eval_duration"] + told[-1]["eval_duration"]
    assert 0 < told[-1]["eval_duration"] < spent == told[-1]["total_duration"], "it shows tokens/s"
    generated = {"model": "tiny", "prompt": "hi", "stream": False, "options": options}
    assert "response" in door.post("/api/generate", json=generated).json()
    batch = {"model": "tiny", "input": ["a", "b"], "truncate": True}
    assert len(door.post("/api/embed", json=batch).json()["embeddings"]) == 2
    assert door.post("/api/embeddings", json={"model": "tiny", "prompt": "a"}).json()["embedding"]
    through = {"model": "tiny", "messages": TURNS, "max_tokens": 4}
    assert door.post("/v1/chat/completions", json=through).status_code == 200


@pytest.mark.parametrize("path", ["pull", "push", "create", "copy"])
def test_what_would_change_what_is_served_is_refused_in_ollamas_form(
    door: TestClient, path: str
) -> None:
    for got in (door.post(f"/api/{path}", json={"model": "x"}), door.delete("/api/delete")):
        assert got.status_code == 404
        assert got.json()["error"]
