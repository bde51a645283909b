"""Calls are parted from what a model said; what is nearly a call stays text."""

import json

import pytest

from archipel.serve.calls import Parting, parted
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


@pytest.mark.parametrize("form", ["hermes", "llama"])
@pytest.mark.parametrize(
    "said",
    [
        "plain words",
        "  words < and <tool and <tool_call more\n",
        'a <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>',
        'a \n <tool_call>{"name": "add", "arguments": {}}</tool_call> b <tool_call>{"name": "add"}</tool_call> c ',
        ' \n <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>\n',
        "x <tool_call>no call</tool_call> y",
        "x <tool_call>",
        ' {"name": "add", "parameters": {"a": 1}} ',
        "{}",
        "",
    ],
)
def test_what_is_told_piece_by_piece_is_what_is_told_at_once_and_no_call_is_told_as_text(
    form: str, said: str
) -> None:
    whole, calls = parted(said, form, TOOLS)
    for size in (1, 2, 5, 100):
        parting = Parting(form, TOOLS)
        told = [parting.say(said[at : at + size]) for at in range(0, len(said), size)]
        rest, found = parting.end()
        assert found == calls
        text = "".join(told) + rest
        assert text.strip() == whole.strip()
        assert not calls or "tool_call" not in text
    if not calls:
        assert text == said


def test_text_is_told_as_soon_as_it_can_be_no_call() -> None:
    parting = Parting("hermes", TOOLS)
    assert parting.say("Let me <") == "Let me"
    assert parting.say("b> see") == " <b> see"
    assert parting.say(" <tool_call>{") == ""
    assert Parting("llama", TOOLS).say("so") == "so"
