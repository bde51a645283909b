"""Files of examples: what is read, what is learned, and which line is at fault."""

import json
from pathlib import Path

import pytest

from archipel.door.client.examples import BadExamples, examples_of, read_examples, read_line
from archipel.model.tokenizer import Tokenizer, byte_tokenizer

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }};{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
CHAT = byte_tokenizer().with_chat_template(TEMPLATE)


def shown(line: object, tokenizer: Tokenizer = CHAT) -> list[tuple[str, str]]:
    """(what is read, what is learned without its end token)."""
    found = list(examples_of(read_line(json.dumps(line).encode()), tokenizer))
    assert all(each.answer[-1] in tokenizer.stop_ids for each in found)
    return [(tokenizer.decode(each.prompt), tokenizer.decode(each.answer[:-1])) for each in found]


def test_each_of_the_assistants_turns_is_learned_after_all_that_was_said_before() -> None:
    said = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    line = {"messages": [{"role": role, "content": text} for role, text in said]}
    assert shown(line) == [
        ("[system]s;[user]a;[assistant]", "b"),
        ("[system]s;[user]a;[assistant]b;[user]c;[assistant]", "d"),
    ]


def test_a_prompt_is_read_its_completion_learned_and_a_text_learned_whole() -> None:
    assert shown({"prompt": "one ", "completion": "two"}) == [("one ", "two")]
    (text,) = shown({"text": "abc"})
    assert "".join(text).endswith("abc")
    assert text[1].endswith("bc")


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b"[1]",
        b"{}",
        b'{"text": 1}',
        b'{"text": ""}',
        b'{"text": "a", "more": "b"}',
        b'{"prompt": "a"}',
        b'{"prompt": "a", "completion": ""}',
        b'{"messages": []}',
        b'{"messages": [{"role": "user", "content": "a"}]}',
        b'{"messages": [{"role": "assistant", "content": "a"}]}',
        b'{"messages": [{"role": "robot", "content": "a"}, {"role": "assistant", "content": "a"}]}',
        b'{"messages": [{"role": "user", "content": ["a"]}, {"role": "assistant", "content": "a"}]}',
        b'{"prompt": "' + b"a" * 200 + b'", "completion": "b"}',
        b"[" * 100_000,
    ],
)
def test_a_line_that_is_not_understood_is_refused_by_its_number(
    tmp_path: Path, line: bytes
) -> None:
    file = tmp_path / "data.jsonl"
    file.write_bytes(b'{"text": "fine"}\n\n' + line + b"\n")
    with pytest.raises(BadExamples, match=r"data.jsonl, line 3: "):
        read_examples(file, CHAT, max_context=100)


def test_messages_need_a_chat_template(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    file.write_text(json.dumps({"messages": said}))
    assert len(read_examples(file, CHAT, 100)) == 1
    with pytest.raises(BadExamples, match="no chat template"):
        read_examples(file, byte_tokenizer(), 100)


def test_a_file_without_examples_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"\n \n")
    with pytest.raises(BadExamples, match="no examples"):
        read_examples(tmp_path / "empty", CHAT, 100)
