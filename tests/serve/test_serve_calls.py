"""Calls are parted from what a model said; what is nearly a call stays text."""

import json

import pytest

from archipel.serve.calls import parted
from archipel.serve.question import Call

TOOLS = [{"type": "function", "function": {"name": "add"}}]
ONE = Call("add", json.dumps({"a": 1, "b": [2]}))


@pytest.mark.parametrize(
    ("said", "form", "text", "calls"),
    [
        ('<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": [2]}}\n</tool_call>', "hermes", "", (ONE,)),
        ('So: <tool_call>{"name": "add", "arguments": {"a": 1, "b": [2]}}</tool_call>', "hermes", "So:", (ONE,)),
        ('<tool_call>{"name": "add", "arguments": {"a": 1, "b": [2]}}', "hermes", "", (ONE,)),
        ('{"name": "add", "parameters": {"a": 1, "b": [2]}}', "llama", "", (ONE,)),
        ('<tool_call>{"name": "rm", "arguments": {}}</tool_call>', "hermes", None, ()),
        ('<tool_call>{"name": "add", "arguments": "x"}</tool_call>', "hermes", None, ()),
        ("<tool_call>{</tool_call>", "hermes", None, ()),
        ("plain words", "hermes", None, ()),
        ('{"name": "rm"}', "llama", None, ()),
        ("[" * 10_000, "llama", None, ()),
    ],
)  # fmt: skip
def test_calls_and_text_are_parted(said: str, form: str, text: str | None, calls: tuple) -> None:
    assert parted(said, form, TOOLS) == (said if text is None else text, calls)
