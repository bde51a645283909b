"""The unmodified clients that people use, against a server of its own process: OpenAI's, Ollama's and Anthropic's."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from serve.served_process import address  # noqa: F401  a fixture

pytestmark = pytest.mark.slow
SAID = [{"role": "user", "content": "hi"}]


@pytest.fixture
def held() -> Iterator[Any]:
    """Takes a client that is closed in the end."""
    with contextlib.ExitStack() as stack:

        def hold(client: Any) -> Any:
            stack.callback(getattr(client, "_client", client).close)
            return client

        yield hold


def test_openais_client_chats_streams_completes_and_reads_errors(address: str, held: Any) -> None:  # noqa: F811
    openai = pytest.importorskip("openai")
    client = held(openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0))
    assert [each.id for each in client.models.list()] == ["tiny"]
    asked = {"model": "tiny", "messages": SAID, "seed": 3, "max_tokens": 9}
    whole = client.chat.completions.create(**asked, logprobs=True)
    stream = client.chat.completions.create(**asked, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == whole.choices[0].message.content
    assert len(whole.choices[0].logprobs.content) == whole.usage.completion_tokens
    told = client.chat.completions.create(**asked, logprobs=True, top_logprobs=4)
    assert [len(row.top_logprobs) for row in told.choices[0].logprobs.content] == [4] * 9
    several = client.completions.create(model="tiny", prompt="abc", max_tokens=5, n=3)
    assert [each.index for each in several.choices] == [0, 1, 2]
    with pytest.raises(openai.NotFoundError, match="there are tiny"):
        client.chat.completions.create(**asked | {"model": "other"})
    with pytest.raises(openai.BadRequestError, match="context"):
        client.chat.completions.create(**asked | {"max_tokens": 9999})


def test_openais_client_embeds_and_forces_calls_and_documents(address: str, held: Any) -> None:  # noqa: F811
    openai, pydantic = pytest.importorskip("openai"), pytest.importorskip("pydantic")
    pytest.importorskip("llguidance")
    client = held(openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0))
    packed = client.embeddings.create(model="tiny", input=["abc", "abd"])
    plain = client.embeddings.create(model="tiny", input=["abc", "abd"], encoding_format="float")
    for one, other in zip(packed.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)

    class Place(pydantic.BaseModel):
        is_far: bool

    asked = {"model": "tiny", "messages": SAID, "max_tokens": 60}
    parsed = client.chat.completions.parse(**asked, response_format=Place).choices[0].message.parsed
    assert isinstance(parsed, Place)
    tool = openai.pydantic_function_tool(Place, name="look")
    choice = {"type": "function", "function": {"name": "look"}}
    with client.chat.completions.stream(
        **asked | {"max_tokens": 150}, tools=[tool], tool_choice=choice
    ) as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Place)


def test_openais_client_asks_for_responses_whole_and_streamed(address: str, held: Any) -> None:  # noqa: F811
    openai = pytest.importorskip("openai")
    client = held(openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0))
    asked = {
        "model": "tiny",
        "input": "hi",
        "instructions": "Be short.",
        "max_output_tokens": 9,
        "temperature": 0,
    }
    whole = client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        told = list(stream)
    kinds, final = [each.type for each in told], told[-1].response
    assert final.output_text == whole.output_text
    assert final.usage == whole.usage
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == f"response.{whole.status}"
    messages = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
    ]
    told = client.responses.create(**asked | {"input": messages, "instructions": None})
    assert told.output_text == whole.output_text


def test_ollamas_client_lists_shows_chats_and_generates(address: str, held: Any) -> None:  # noqa: F811
    ollama = pytest.importorskip("ollama")
    client = held(ollama.Client(address))
    assert [each.model for each in client.list().models] == ["tiny"]
    assert "completion" in client.show("tiny").capabilities
    options = {"num_predict": 9, "temperature": 0}
    whole = client.chat("tiny", SAID, options=options)
    parts = client.chat("tiny", SAID, options=options, stream=True)
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert client.generate("tiny", "hi", options=options).response == whole.message.content
    told = client.chat("tiny", SAID, options=options, logprobs=True, top_logprobs=2)
    assert [len(row.top_logprobs) for row in told.logprobs] == [2] * len(told.logprobs)
    embedded = client.embed("tiny", ["abc", "abd"])
    assert len(embedded.embeddings) == 2
    assert len(client.embeddings("tiny", "abc").embedding) == len(embedded.embeddings[0])
    assert client.ps().models[0].model == "tiny"
    with pytest.raises(ollama.ResponseError, match="there are tiny"):
        client.chat("other", SAID)


def test_anthropics_client_creates_streams_and_counts(address: str, held: Any) -> None:  # noqa: F811
    anthropic = pytest.importorskip("anthropic")
    client = held(anthropic.Anthropic(base_url=address, api_key="none", max_retries=0))
    greedy = {"extra_body": {"temperature": 0}}  # which this client has no word for any more
    asked = {"model": "tiny", "messages": SAID, "max_tokens": 9} | greedy
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        text = "".join(stream.text_stream)
        assert stream.get_final_message().usage == whole.usage
    assert text == whole.content[0].text
    pytest.importorskip("llguidance")
    tool = {"name": "look", "input_schema": {"type": "object", "additionalProperties": False}}
    called = client.messages.create(
        **asked | {"max_tokens": 90}, tools=[tool], tool_choice={"type": "tool", "name": "look"}
    )
    assert (called.stop_reason, called.content[-1].name) == ("tool_use", "look")
    counted = client.messages.count_tokens(model="tiny", messages=SAID)
    assert counted.input_tokens == whole.usage.input_tokens
    with pytest.raises(anthropic.NotFoundError, match="there are tiny"):
        client.messages.create(**asked | {"model": "other"})
