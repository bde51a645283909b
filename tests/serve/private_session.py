"""A full session with served models: every dialect, streams, tools, adapters, embeddings, the page, signed answers."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

SECRET = "a word that leaves no machine"
TOOL = {"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}
TURNS = [{"role": "user", "content": SECRET}]
LIMIT_S = 120.0


def asked(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and body of each question to one model."""
    chat = {"model": name, "messages": TURNS, "max_tokens": 6}
    yield "/v1/chat/completions", chat
    yield "/v1/chat/completions", chat | {"stream": True, "n": 2}
    yield "/v1/chat/completions", chat | {"tools": [TOOL]}
    yield "/v1/messages", chat
    yield "/v1/completions", {"model": name, "prompt": SECRET, "max_tokens": 6}
    yield "/v1/responses", {"model": name, "input": SECRET, "max_output_tokens": 6}
    yield "/api/chat", chat | {"options": {"num_predict": 6}}
    yield "/api/generate", {"model": name, "prompt": SECRET, "options": {"num_predict": 6}}


READ = (
    ("/v1/embeddings", {"input": SECRET}),
    ("/api/embed", {"input": SECRET}),
    ("/v1/classify", {"prompt": SECRET, "choices": ["a", "b"]}),
    ("/v1/messages/count_tokens", {"messages": TURNS, "max_tokens": 1}),
)
LOOKED_AT = ("/", "/page/page.js", "/health", "/metrics", "/v1/models", "/api/tags", "/api/ps", "/openapi.json")  # fmt: skip


def hold(address: str, names: tuple[str, ...], *, reads: bool = True) -> int:
    """Ask all of it; how many answers there were. reads: whether these models embed and weigh."""
    count = 0
    with httpx.Client(base_url=address, trust_env=False, timeout=LIMIT_S) as client:
        for name in names:
            for path, body in (*asked(name), *(READ if reads else ())):
                got = client.post(path, json={"model": name} | body)
                assert got.status_code == 200, (path, got.text)
                count += 1
                if signed := got.headers.get("archipel-answer"):
                    assert json.loads(client.get(f"/v1/answers/{signed}").content)["signatures"]
        for path in LOOKED_AT:
            assert client.get(path).status_code in (200, 404), path
    return count
