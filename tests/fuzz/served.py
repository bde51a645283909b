"""Readers of what clients of a served model send, and of tool calls in what the model says."""

import json
from typing import Any

from archipel.cli.chat_served import said_in
from archipel.cli.doors import Mendable
from archipel.identity import sign
from archipel.market.receipts import BadReceipt, opened, read_line
from archipel.records.canonical import canonical_json
from archipel.records.membership import MAX_SIGNED_CHARACTERS, Signed
from archipel.records.receipts import RECEIPT_TYPE
from archipel.serve.access import InvalidKeys, read_keys
from archipel.serve.calls import parted
from archipel.serve.dialects import (
    anthropic,
    classifying,
    embeddings,
    ollama,
    openai,
    openai_responses,
)
from archipel.serve.question import Bends, Call, Form, Question, Refusal, Settings
from archipel.serve.running import Running, running_of
from archipel.serve.signed.document import (
    ANSWER_TYPE,
    MAX_ANSWER_BYTES,
    BadAnswer,
    SignedAnswer,
    SignedChoice,
    read_answer,
    sealed,
)
from archipel.serve.signed.request import question_of, request_of
from fuzz.reading import Reader
from metered import Book, row
from people import identity

TURNS = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "get", "parameters": {}}}
CALLED = {"id": "c", "type": "function", "function": {"name": "get", "arguments": "{}"}}
SIGNER = identity("signer")
ASKED = Question(
    "m",
    Settings(temperature=0.5, seed=1, bends=Bends({7: 1.5}), form=Form("{}"), stop=("a",)),
    tools=(TOOL,),
)
ANSWER = SignedAnswer(
    format="archipel-answer-1",
    model="m",
    at_ms=1,
    contract="archipel-float32",
    fingerprint="f",
    weights="sha256:" + "0" * 64,
    tokenizer="sha256:" + "1" * 64,
    threads=1,
    request=request_of(ASKED, (1, 2), 2**63, 5),
    choices=(SignedChoice(tokens=(3,), logprobs=(2**31,), finished=True),),
)
RUNNING = Running(name="m", address="http://127.0.0.1:8450", port=8450, pid=77, since=1)


def readers() -> dict[str, Reader]:
    """One for each kind of body."""
    chat = {
        "model": "m",
        "messages": TURNS,
        "max_tokens": 3,
        "stop": ["a"],
        "tools": [TOOL],
        "n": 2,
        "seed": 1,
    }
    asked = {"model": "m", "messages": [{"role": "assistant", "tool_calls": [CALLED]}, *TURNS]}
    blocks = [
        {"type": "text", "text": "x"},
        {"type": "tool_result", "tool_use_id": "t", "content": "y"},
    ]
    message = {
        "model": "m",
        "max_tokens": 3,
        "messages": [{"role": "user", "content": blocks}],
        "system": "s",
    }
    called = {"type": "function_call", "call_id": "c", "name": "get", "arguments": "{}"}
    heard = {"type": "function_call_output", "call_id": "c", "output": "y"}
    items = {
        "model": "m",
        "input": [*TURNS, called, heard],
        "instructions": "x",
        "max_output_tokens": 3,
    }
    generate = {
        "model": "m",
        "prompt": "p",
        "options": {"num_predict": 3, "stop": ["x"]},
        "raw": True,
    }
    return {
        "openai chats": Reader(openai.chat_question, (_told(chat), _told(asked)), (Refusal,)),
        "openai texts": Reader(
            openai.text_question, (_told({"model": "m", "prompt": "p", "logprobs": 1}),), (Refusal,)
        ),
        "openai responses": Reader(
            openai_responses.question,
            (_told(items), _told({"model": "m", "input": "hi"})),
            (Refusal,),
        ),
        "anthropic messages": Reader(anthropic.question, (_told(message),), (Refusal,)),
        "ollama chats": Reader(
            ollama.chat_question, (_told({"model": "m", "messages": TURNS}),), (Refusal,)
        ),
        "ollama texts": Reader(
            lambda data: ollama.text_question(data, has_template=True),
            (_told(generate),),
            (Refusal,),
        ),
        "servers that run": Reader(
            running_of, (RUNNING.model_dump_json().encode(),), (ValueError,)
        ),
        "answers in a stream": Reader(
            lambda data: said_in(data.decode(errors="replace")),
            (b'data: {"choices": [{"text": "a"}]}',),
            (Mendable,),
        ),
        "API keys": Reader(read_keys, (b"# users\nann sk-0123456789abcdef\n",), (InvalidKeys,)),
        "openai embeddings": Reader(
            embeddings.openai_asked,
            (
                _told({"model": "m", "input": ["a", "b"]}),
                _told({"model": "m", "input": [[1], [2]]}),
            ),
            (Refusal,),
        ),
        "ollama embeddings": Reader(
            embeddings.ollama_asked, (_told({"model": "m", "input": "a"}),), (Refusal,)
        ),
        "old ollama embeddings": Reader(
            embeddings.old_ollama_asked, (_told({"model": "m", "prompt": "a"}),), (Refusal,)
        ),
        "classifications": Reader(
            classifying.asked,
            (_told({"model": "m", "messages": TURNS, "choices": ["a", "b"], "prior": TURNS}),),
            (Refusal,),
        ),
        "signed answers": Reader(read_answer, (sealed(ANSWER, SIGNER),), (BadAnswer,)),
        "payloads of signed answers": Reader(
            _signed_again, (canonical_json(ANSWER.model_dump(mode="json")),), (BadAnswer,)
        ),
        "receipts": Reader(read_line, (BOOK.lines[1][:-1],), (BadReceipt,)),
        "payloads of receipts": Reader(
            _receipt_again, (BOOK.due(4).signed.payload.encode(),), (BadReceipt,)
        ),
        "said calls": Reader(
            _parted, (b'<tool_call>{"name": "get", "arguments": {"a": 1}}</tool_call>',), ()
        ),
    }


def _signed_again(data: bytes) -> object:
    """Whoever has a key may sign anything."""
    envelope = sign(SIGNER, data, ANSWER_TYPE, MAX_ANSWER_BYTES)
    return question_of(read_answer(envelope.to_json())[0])


def _receipt_again(data: bytes) -> object:
    """Whoever has a meter's key may sign any text."""
    text = data.decode("utf-8", "replace")[:MAX_SIGNED_CHARACTERS]
    envelope = sign(SIGNER, text.encode(), RECEIPT_TYPE)
    return opened(Signed(payload=text, signature=envelope.signature.hex()))


def _book() -> Book:
    book = Book("sha256:" + "a" * 64, SIGNER)
    book.write(row("ann", 1, 2), row("bob", 3, 4))
    book.write(row("bob", 5, 6), is_after_break=True)
    return book


BOOK = _book()


def _parted(data: bytes) -> None:
    """What is parted can be told in every dialect."""
    _, calls = parted(data.decode(errors="replace"), "hermes", [TOOL])
    for call in (*calls, Call("get", "{}")):
        anthropic.called(call)
        ollama.called(call)


def _told(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()
