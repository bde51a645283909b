"""Calls are parted from what a model said; what is nearly a call stays text."""

import json

import pytest

from archipel.model.tool_calls import MAX_CALL_CHARS, MAX_CALLS
from archipel.serve.calls import OPENS, Parting, parted
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


def test_more_calls_or_a_longer_one_than_may_be_are_text() -> None:
    call = '<tool_call>{"name": "add"}</tool_call>'
    assert parted(call * MAX_CALLS, "hermes", TOOLS) == ("", (Call("add", "{}"),) * MAX_CALLS)
    assert parted(call * (MAX_CALLS + 1), "hermes", TOOLS) == (call * (MAX_CALLS + 1), ())
    head, tail = '{"name": "add", "parameters": {"a": "', '"}}'
    longest = head + "x" * (MAX_CALL_CHARS - len(head) - len(tail)) + tail
    assert len(longest) == MAX_CALL_CHARS
    assert len(parted(longest, "llama", TOOLS)[1]) == 1
    longer = longest.replace("x", "xx", 1)
    assert parted(longer, "llama", TOOLS) == (longer, ())


def test_what_looks_like_the_beginning_of_a_call_is_held_and_no_more() -> None:
    """Up to its last letter; what is then none of it is told at once."""
    for known in range(1, len(OPENS)):
        parting = Parting("hermes", TOOLS)
        assert parting.say("a" + OPENS[:known]) == "a"
        assert parting.say("!") == OPENS[:known] + "!"
        assert parting.end() == ("", ())
    parting = Parting("hermes", TOOLS)
    assert parting.say(f"a {OPENS[:-1]}") == "a"
    assert parting.say(f"{OPENS[-1]}{{}} b {OPENS}") == "", "what follows a call waits for its end"
    assert parting.say(OPENS[:4]) == ""


def test_a_call_names_a_tool_and_has_an_object_of_arguments() -> None:
    for said in (
        '["add"]',
        '{"arguments": {}}',
        '{"name": "add", "arguments": [1]}',
        '{"name": ["add"]}',
    ):
        assert parted(f"<tool_call>{said}</tool_call>", "hermes", TOOLS)[1] == ()
    both = '{"name": "add", "arguments": {"a": 1}, "parameters": {"a": 2}}'
    assert parted(both, "llama", TOOLS)[1] == (Call("add", '{"a": 1}'),)


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
