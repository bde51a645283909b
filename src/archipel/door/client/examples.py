"""Examples to learn from: a JSON object a line, as token ids.

    {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
    {"prompt": "...", "completion": "..."}
    {"text": "..."}

Messages go through the model's chat template, and each of the assistant's turns is learned, after all that was said before
it. A prompt is read and its completion learned, both as they stand; of a text everything is learned. What is learned ends
with the model's end token. Law: a line that is not wholly understood is refused by its number.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archipel.model.chat import MAX_MESSAGES, InvalidChat
from archipel.model.dialogue import chat_ids
from archipel.model.tokenizer import Tokenizer, UnknownText

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_LINE_BYTES = 1024 * 1024
MAX_EXAMPLES = 200_000
ROLES = ("system", "user", "assistant", "tool")
FORMS = "expected messages, or prompt and completion, or text"


class BadExamples(ValueError):
    """The file cannot be learned from; the message says which line, and what is expected there."""


@dataclass(frozen=True)
class Example:
    """One sequence."""

    prompt: tuple[int, ...]
    """Token ids that are read; the first one of a text is here, too."""
    answer: tuple[int, ...]
    """Token ids that are learned, the end token among them."""

    @property
    def num_inputs(self) -> int:
        """Tokens that pass through the model: all but the last."""
        return len(self.prompt) + len(self.answer) - 1


def read_examples(path: Path, tokenizer: Tokenizer, max_context: int) -> tuple[Example, ...]:
    """All of a file, in its order.

    max_context: tokens that the model reads at most.

    Raises:
        BadExamples: too large, a line that cannot be read, one that is too long for the model, or none at all.
        OSError: it cannot be opened.
    """
    found: list[Example] = []
    for number, line in _lines(path):
        try:
            for example in examples_of(read_line(line), tokenizer):
                if example.num_inputs > max_context:
                    raise BadExamples(
                        f"{example.num_inputs} tokens; this model reads at most {max_context}: shorten or leave it out"
                    )
                found.append(example)
        except (BadExamples, InvalidChat, UnknownText) as error:
            raise BadExamples(f"{path}, line {number}: {error}") from None
        if len(found) > MAX_EXAMPLES:
            raise BadExamples(f"{path} has more than {MAX_EXAMPLES} examples; learn from fewer")
    if not found:
        raise BadExamples(f"{path} has no examples; {FORMS}, as a JSON object a line")
    return tuple(found)


def read_line(line: bytes) -> Mapping[str, Any]:
    """What one line says, in one of the three forms.

    Raises:
        BadExamples: it is too long, no JSON object, or of no such form.
    """
    if len(line) > MAX_LINE_BYTES:
        raise BadExamples(f"{len(line)} bytes; at most {MAX_LINE_BYTES} a line")
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        raise BadExamples(f"it is no JSON; {FORMS}") from None
    if not isinstance(said, dict):
        raise BadExamples(f"it is no JSON object; {FORMS}")
    if said.keys() == {"messages"}:
        _check_messages(said["messages"])
    elif said.keys() not in ({"text"}, {"prompt", "completion"}):
        raise BadExamples(f"it has the keys {sorted(said)!s:.80}; {FORMS}")
    elif not all(isinstance(each, str) for each in said.values()):
        raise BadExamples(f"{' and '.join(said)} must be texts")
    return said


def examples_of(said: Mapping[str, Any], tokenizer: Tokenizer) -> Iterator[Example]:
    """Of a line as `read_line` gives it.

    Raises:
        BadExamples: there is nothing to learn.
        InvalidChat: there is no chat template, or it cannot render the messages.
        UnknownText: the vocabulary has no ids for some character.
    """
    end = _end(tokenizer)
    if "messages" in said:
        messages = said["messages"]
        for place, message in enumerate(messages):
            if message["role"] == "assistant":
                before = chat_ids(tokenizer, messages[:place])
                told = message["content"].strip()
                yield Example(tuple(before), (*_plain(tokenizer, told), *end))
        return
    if "text" in said:
        ids = (*tokenizer.encode_prompt(said["text"]), *end)
        if not said["text"] or len(ids) < 2:
            raise BadExamples("its text is empty; leave the line out")
        yield Example(ids[:1], ids[1:])
        return
    prompt = tuple(tokenizer.encode_prompt(said["prompt"]))
    answer = (*_plain(tokenizer, said["completion"]), *end)
    if not prompt or not said["completion"]:
        raise BadExamples("its prompt or completion is empty; give some text")
    yield Example(prompt, answer)


def _plain(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, parse_special=False)


def _end(tokenizer: Tokenizer) -> tuple[int, ...]:
    stops = tokenizer.stop_ids
    return (tokenizer.eos_id,) if tokenizer.eos_id in stops else stops[:1]  # type: ignore[return-value]


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not 0 < len(messages) <= MAX_MESSAGES:
        raise BadExamples(f"messages must be a list of 1 to {MAX_MESSAGES} messages")
    for message in messages:
        if not isinstance(message, dict) or message.keys() != {"role", "content"}:
            raise BadExamples(f"the message {message!r:.60}; expected role and content")
        if message["role"] not in ROLES or not isinstance(message["content"], str):
            raise BadExamples(f"a message of {message['role']!r:.40}; expected a text of {ROLES}")
    if not _learns_something(messages):
        raise BadExamples("no message of the assistant follows another; there is nothing to learn")


def _learns_something(messages: Sequence[Mapping[str, Any]]) -> bool:
    return any(each["role"] == "assistant" for each in messages[1:]) and (
        messages[0]["role"] != "assistant"
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, and their numbers from 1 up."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BadExamples(f"{path} has more than {MAX_FILE_BYTES} bytes; learn from a part of it")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line
