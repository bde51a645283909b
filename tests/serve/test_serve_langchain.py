"""LangChain's OpenAI classes, as they are, against a server of its own process."""

import json
from typing import Any

import pytest

from serve.served_process import address  # noqa: F401  a fixture

pytestmark = pytest.mark.slow
PLACE = {
    "title": "place",
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}  # fmt: skip


@pytest.fixture
def langchain(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Nothing is told to anybody: the library has a tracing service that is off unless it is asked for."""
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "false")
    return pytest.importorskip(
        "langchain_openai",
        reason="pip install -c constraints.txt -e '.[test]' brings langchain-openai",
    )


def model(langchain: Any, address: str, **more: Any) -> Any:  # noqa: F811
    held = {
        "model": "tiny",
        "api_key": "none",
        "max_retries": 0,
        "max_tokens": 12,
        "seed": 4,
    } | more
    return langchain.ChatOpenAI(base_url=f"{address}/v1", **held)


def test_it_is_invoked_and_streams(langchain: Any, address: str) -> None:  # noqa: F811
    chat = model(langchain, address, stream_usage=True)
    whole = chat.invoke("hi")
    parts = list(chat.stream("hi"))
    assert "".join(part.content for part in parts) == whole.content
    assert whole.usage_metadata["output_tokens"] == 12
    assert parts[-1].usage_metadata or parts[-2].usage_metadata
    told = model(langchain, address, logprobs=True, top_logprobs=2).invoke("hi")
    rows = told.response_metadata["logprobs"]["content"]
    assert [len(row["top_logprobs"]) for row in rows] == [2] * 12


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_is_structured(langchain: Any, address: str, method: str) -> None:  # noqa: F811
    pytest.importorskip("llguidance")
    chat = model(langchain, address, max_tokens=150)
    found = chat.with_structured_output(PLACE, method=method, include_raw=True).invoke("hi")
    assert found["parsing_error"] is None
    assert set(found["parsed"]) == {"city", "days"}


def test_bound_tools_are_called(langchain: Any, address: str) -> None:  # noqa: F811
    pytest.importorskip("llguidance")
    tool = {"type": "function", "function": {"name": "weather", "parameters": PLACE}}
    chat = model(langchain, address, max_tokens=150)
    for choice in ("weather", "any"):
        said = chat.bind_tools([tool], tool_choice=choice).invoke("hi")
        (call,) = said.tool_calls
        assert (call["name"], set(call["args"])) == ("weather", {"city", "days"})
    streamed = list(chat.bind_tools([tool], tool_choice="any").stream("hi"))
    whole = streamed[0]
    for part in streamed[1:]:
        whole = whole + part
    assert json.dumps(whole.tool_calls[0]["args"])
    free = chat.bind_tools([tool], parallel_tool_calls=False).invoke("hi")
    assert free.content or free.tool_calls


def test_texts_become_vectors(langchain: Any, address: str) -> None:  # noqa: F811
    vectors = langchain.OpenAIEmbeddings(
        model="tiny", base_url=f"{address}/v1", api_key="none", check_embedding_ctx_length=False
    )  # which would fetch another model's tokenizer
    one, two = vectors.embed_documents(["abc", "abd"])
    assert one == pytest.approx(vectors.embed_query("abc"))
    assert len(one) == len(two)
    assert one != two
