"""Bad input of every kind at every endpoint: the dialect's own error, never a 5xx, and nobody beside it notices."""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from archipel.serve.access import Access
from archipel.serve.door import make_door
from archipel.serve.served import Served
from archipel.serve.server import DoorServer, Ending, listening
from serve.served_models import served, tiny_model

LOCAL = "http://127.0.0.1:8450"
LIMIT_S = 3.0
TURN = [{"role": "user", "content": "hi"}]
WHOLE: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "tiny", "messages": TURN, "max_tokens": 3},
    "/v1/completions": {"model": "tiny", "prompt": "a", "max_tokens": 3},
    "/v1/responses": {"model": "tiny", "input": "a", "max_output_tokens": 3},
    "/v1/messages": {"model": "tiny", "messages": TURN, "max_tokens": 3},
    "/v1/messages/count_tokens": {"model": "tiny", "messages": TURN},
    "/api/chat": {"model": "tiny", "messages": TURN, "stream": False, "options": {"num_predict": 3}},
    "/api/generate": {"model": "tiny", "prompt": "a", "stream": False, "options": {"num_predict": 3}},
    "/api/show": {"model": "tiny"},
    "/v1/embeddings": {"model": "tiny", "input": "a"},
    "/v1/classify": {"model": "tiny", "prompt": "a", "choices": ["b", "c"]},
    "/api/embed": {"model": "tiny", "input": "a"},
    "/api/embeddings": {"model": "tiny", "prompt": "a"},
}  # fmt: skip
STRANGE: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 2**64, -(2**70), 1e308, -0.5, "", "x", "\x00", "\udc80", "x" * 10_000, [], [[]], [None],
    {}, {"x": {}}, [{"role": "user"}], [{"type": "image_url", "image_url": {"url": "http://192.0.2.1/x"}}],
)  # fmt: skip
RAW = (
    b"", b"{", b"null", b"[]", b'"x"', b"1e999", b"NaN", b'{"model": NaN}', b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00",
    '{"model": "tiny"}'.encode("utf-16"), b'{"model": "tiny", "model": "no"}', b"[" * 50_000, b'{"a":' * 50_000,
    b'{"model": "tiny", "messages": ' + b"[" * 2_000 + b"]" * 2_000 + b"}", b"0" * 100_000, b"-" * 9, b'{"model": "\x01"}',
    b'{"model": "tiny", "max_tokens": ' + b"9" * 5_000 + b"}", b'{"\\ud800": 1}', b"--x\r\nContent-Disposition: form-data\r\n\r\n",
)  # fmt: skip


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


BOMBS: tuple[Any, ...] = (
    nested(50), nested(300), {"$ref": "#"}, {"$ref": "http://192.0.2.1/x.json"}, {"$ref": "file:///etc/passwd"},
    {"enum": [f"v{n}" for n in range(4000)]}, {"enum": ["x" * 50_000]}, {"const": 1e308}, {"not": {}},
    {"type": "string", "pattern": "^(a+)+$"}, {"type": "string", "pattern": "^((a{1,900}){1,900}){1,900}$"},
    {"type": "string", "pattern": "(?=a)b"}, {"type": "string", "pattern": "("}, {"type": "string", "pattern": ".*a.{30}$"},
    {"type": "string", "maxLength": 10**9}, {"type": "string", "minLength": 10**7}, {"type": "string", "minLength": -1},
    {"type": "array", "minItems": 10**7, "items": {"type": "null"}}, {"type": "integer", "minimum": -(10**300)},
    {"type": "number", "multipleOf": 1e-300}, {"type": "string", "format": "nonsense"}, {"type": ["x"]}, {"properties": []},
    {"allOf": [{"anyOf": [{"required": [f"a{n}"]}, {"required": [f"b{n}"]}]} for n in range(16)]},
    {"type": "object", "properties": {f"p{n}": {} for n in range(3000)}}, {"x" * 70_000: 1},
)  # fmt: skip


def bombs() -> Iterator[tuple[str, dict[str, Any]]]:
    """In each dialect that takes documents."""
    for schema in BOMBS:
        held = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        told = {"format": {"type": "json_schema", "name": "n", "schema": schema}}
        yield "/v1/chat/completions", {"response_format": held}
        yield "/v1/responses", {"text": told}
        yield "/api/chat", {"format": schema}
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        yield "/v1/chat/completions", {"tools": [tool]}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = served(tiny_model(tmp_path_factory.mktemp("bad") / "tiny"))
    yield found
    found.desk.close()


@pytest.fixture
def door(one: Served) -> TestClient:
    return TestClient(make_door({"tiny": one}, Access()), base_url=LOCAL)


def is_of_dialect(path: str, said: Any) -> bool:
    """Whether an error has its dialect's own form."""
    if path.startswith("/api/"):
        return isinstance(said["error"], str)
    if path.startswith("/v1/messages") and said["type"] != "error":
        return False
    return isinstance(said["error"]["message"], str) and isinstance(said["error"]["type"], str)


def check(path: str, got: httpx.Response) -> None:
    assert got.status_code < 500, (path, got.text[:300])
    if got.status_code >= 400:
        assert is_of_dialect(path, got.json()), (path, got.text[:300])


@pytest.mark.parametrize("path", WHOLE)
def test_what_is_no_question_gets_an_error_of_its_dialect(door: TestClient, path: str) -> None:
    assert door.post(path, json=WHOLE[path]).status_code == 200
    for data in RAW:
        got = door.post(path, content=data)
        assert 400 <= got.status_code < 500, (data[:40], got.text[:300])
        check(path, got)


@pytest.mark.slow
@pytest.mark.parametrize("path", WHOLE)
def test_a_strange_value_gets_an_answer_or_an_error_of_its_dialect(
    door: TestClient, path: str
) -> None:
    for field in WHOLE[path]:
        for value in STRANGE:
            check(path, door.post(path, content=json.dumps(WHOLE[path] | {field: value})))
    missing = {name: value for name, value in WHOLE[path].items() if name != "model"}
    check(path, door.post(path, json=missing))


@pytest.mark.slow
@pytest.mark.parametrize("path", WHOLE)
def test_strange_values_in_every_field_that_is_read(door: TestClient, path: str) -> None:
    """As the server describes them."""
    described = door.get("/openapi.json").json()
    schema = described["paths"][path]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    name = schema["$ref"].rpartition("/")[2]
    for field in described["components"]["schemas"][name]["properties"]:
        for value in STRANGE:
            check(path, door.post(path, content=json.dumps(WHOLE[path] | {field: value})))


@pytest.mark.slow
def test_schemas_that_explode_are_refused_or_end(door: TestClient) -> None:
    pytest.importorskip("llguidance")
    for path, more in bombs():
        begun = time.monotonic()
        check(path, door.post(path, content=json.dumps(WHOLE[path] | more)))
        assert time.monotonic() - begun < 10, more


def test_every_endpoint_that_reads_a_body_is_among_these(door: TestClient) -> None:
    paths = door.get("/openapi.json").json()["paths"]
    assert {path for path, methods in paths.items() if "post" in methods} == WHOLE.keys()


async def streamed(client: httpx.AsyncClient, body: dict[str, Any]) -> tuple[str, float]:
    """(what was said, with its log-probabilities; the longest wait for a token in seconds)."""
    text, gaps, last = "", [0.0], time.monotonic()
    async with client.stream("POST", "/v1/chat/completions", json=body) as got:
        async for line in got.aiter_lines():
            if line.startswith("data: {"):
                (choice,) = json.loads(line.removeprefix("data: "))["choices"]
                text += json.dumps([choice["delta"].get("content"), choice.get("logprobs")])
                gaps.append(time.monotonic() - last)
                last = time.monotonic()
    return text, max(gaps)


async def worst(client: httpx.AsyncClient) -> None:
    """Everything bad at once."""
    for path, more in bombs():
        check(path, await client.post(path, content=json.dumps(WHOLE[path] | more)))
    for path in WHOLE:
        for data in RAW:
            check(path, await client.post(path, content=data))
    for words in (5_000, 1_000_000):  # of the first more than the context, but worth reading
        long = [{"role": "user", "content": "words " * words}]
        tools = [{"type": "function", "function": {"name": "f", "description": "words " * words}}]
        for path in ("/v1/chat/completions", "/v1/messages", "/api/chat"):
            for more in ({"messages": long}, {"tools": tools}):
                got = await client.post(path, json=WHOLE[path] | more)
                check(path, got)
                assert got.status_code == 400
        for path in ("/v1/embeddings", "/api/embed", "/v1/classify", "/v1/completions"):
            field = "input" if "embed" in path else "prompt"
            check(path, await client.post(path, json=WHOLE[path] | {field: "words " * words}))


@pytest.mark.slow
def test_nobody_beside_bad_input_notices(one: Served) -> None:
    """A stream says, bit for bit, what it says alone, and never waits long for its next token."""
    stops = {str(token): -100 for token in one.tokenizer.stop_ids}
    body = WHOLE["/v1/chat/completions"] | {"max_tokens": 400, "temperature": 0}
    body |= {"logit_bias": stops, "stream": True, "logprobs": True}

    async def story() -> float:
        listener = listening("127.0.0.1", 0)
        server = DoorServer(make_door({"tiny": one}, Access()), Ending(), is_loopback=True)
        running = asyncio.create_task(server._serve([listener]))
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=base, timeout=120, trust_env=False) as client:
            alone, _ = await streamed(client, body)
            attack, gaps = asyncio.create_task(worst(client)), []
            while not attack.done():
                text, gap = await streamed(client, body)
                assert text == alone
                gaps.append(gap)
            await attack
        server.should_exit = True
        await running
        return max(gaps)

    longest = asyncio.run(story())
    print(f"longest wait for a token beside bad input: {longest:.2f} s")
    assert longest < LIMIT_S
