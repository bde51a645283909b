"""From messages to ids: the template's control tokens are control, what people wrote is text.

The template is rendered to text, and its control tokens are found in that text again; so a control token
that stands in a message is parted by a mark before rendering, and the mark is taken out after.
Laws: without control tokens in messages the ids are those of `transformers`; with them, no message makes
a control token.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import tokenizers
from tokenizers import AddedToken

from archipel.model.chat import InvalidChat, render
from archipel.model.tokenizer import Tokenizer, UnknownText

_MARKS = tuple(chr(code) for code in range(0xF0000, 0xF0010))
"""Private characters of which one that is in no message parts control tokens."""


def chat_ids(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool = True,
    now: datetime | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> list[int]:
    """Ids of the rendered messages; nothing is added to what the template writes.

    now: what a template that asks for the date is told (see `render`).
    tools: JSON schemas of functions that the model may call.

    Raises:
        InvalidChat: the tokenizer has no chat template, or it cannot render these messages.
        UnknownText: the vocabulary has no ids for some character.
    """
    if tokenizer.chat_template is None:
        raise InvalidChat("the model has no chat template")
    control = _control_pattern(tokenizer)
    mark = _free_mark(messages, tokenizer.chat_template)
    parted = [_parted(message, control, mark) for message in messages]
    text = render(
        parted,
        tokenizer.chat_template,
        special_tokens=tokenizer.special_tokens,
        add_generation_prompt=add_generation_prompt,
        now=now,
        tools=tools,
    )
    escaped = json.dumps(mark)[1:-1]
    if mark not in text and escaped not in text:
        return tokenizer.encode(text)
    return _with_text_as_text(tokenizer, text, control, (mark, escaped))


def _control_pattern(tokenizer: Tokenizer) -> re.Pattern[str]:
    """Finds any control token in a text; the longest first, as one may begin another."""
    contents = sorted((token.content for token in tokenizer.special_ids.values()), key=len)
    return re.compile("|".join(re.escape(each) for each in reversed(contents)) or r"(?!)")


def _free_mark(messages: Sequence[Mapping[str, Any]], template: str) -> str:
    taken = template + json.dumps(list(messages), ensure_ascii=False, default=str)
    free = [mark for mark in _MARKS if mark not in taken]
    if not free:
        raise InvalidChat("the messages hold every one of the private characters F0000 to F000F")
    return free[0]


def _parted(value: Any, control: re.Pattern[str], mark: str) -> Any:
    """The value with a mark inside each control token of each of its texts."""
    if isinstance(value, str):
        return control.sub(lambda found: found[0][:1] + mark + found[0][1:], value)
    if isinstance(value, Mapping):
        return {key: _parted(item, control, mark) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_parted(item, control, mark) for item in value]
    return value


def _with_text_as_text(
    tokenizer: Tokenizer, text: str, control: re.Pattern[str], marks: tuple[str, str]
) -> list[int]:
    """Ids of `text`: its control tokens as such, those with a mark inside as the text they are."""
    renamed = _renamed(tokenizer, marks[0])
    pieces = []
    end = 0
    for found in control.finditer(text):
        pieces += [_unmarked(text[end : found.start()], marks), renamed.names[found[0]]]
        end = found.end()
    pieces.append(_unmarked(text[end:], marks))
    try:
        encoded = renamed.backend.encode("".join(pieces), add_special_tokens=False).ids
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise UnknownText(f"cannot encode {text!r:.60}: {error}") from None
    if stray := [index for index in encoded if index in tokenizer.control_ids]:
        word = tokenizer.special_ids[stray[0]].content
        raise UnknownText(
            f"a message holds {word!r:.40}, which would become a control token; take it out"
        )
    return [renamed.ids.get(index, index) for index in encoded]


@dataclass(frozen=True)
class _Renamed:
    """A copy of a tokenizer that knows control tokens by other names, and the old ones as text."""

    backend: tokenizers.Tokenizer
    names: Mapping[str, str]
    """Old name -> new name."""
    ids: Mapping[int, int]
    """Id of the new name -> id of the token."""


@lru_cache(maxsize=2)
def _renamed(tokenizer: Tokenizer, mark: str) -> _Renamed:
    """Costs a second for a large vocabulary."""
    copy = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    copy.encode_special_tokens = True
    names: dict[str, str] = {}
    ids: dict[int, int] = {}
    first = copy.get_vocab_size(with_added_tokens=True)
    for number, (index, token) in enumerate(sorted(tokenizer.special_ids.items())):
        name = f"{mark}{number}{mark}"
        # Not special: those that are would be taken for text too.
        alias = AddedToken(
            name, lstrip=token.lstrip, rstrip=token.rstrip, normalized=False, special=False
        )
        copy.add_tokens([alias])
        names[token.content] = name
        ids[first + number] = index
    return _Renamed(copy, names, ids)


def _unmarked(text: str, marks: tuple[str, str]) -> str:
    return text.replace(marks[0], "").replace(marks[1], "")
