"""What a chat template writes after a turn of the model: appended to the tokens that are there, which stay.

Parts: `appended`, `require_appending`. Law: no token that is there is encoded again. That needs templates whose
later text does not depend on what was said earlier, and which leave earlier turns as they were; `require_appending`
tries it with turns that templates are known to treat apart, and refuses the others.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from archipel.model.chat import InvalidChat
from archipel.model.dialogue import chat_ids
from archipel.model.tokenizer import Tokenizer

Messages = Sequence[Mapping[str, Any]]

_SOME_DAY = datetime(2026, 1, 1, tzinfo=UTC)
"""For templates that put the date first; what they append does not name it, which is tried too."""
WAYS = (
    'set episode.rewritten = "new_sample" (each such change then begins a sample of its own), give the model a template '
    'that leaves earlier turns as they are, or set prompt.chat_template = "never"'
)
_PLAIN_PAST = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})
_PASTS: tuple[Messages, ...] = (
    _PLAIN_PAST,
    ({"role": "system", "content": "c"}, *_PLAIN_PAST),
    (
        *_PLAIN_PAST,
        {"role": "user", "content": "d"},
        {"role": "assistant", "content": "<think>\ne\n</think>\n\nf"},
    ),
    (
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": '<tool_call>\n{"name": "g"}\n</tool_call>'},
    ),
)


def appended(
    tokenizer: Tokenizer, messages: Messages, tools: Sequence[Mapping[str, Any]] = ()
) -> tuple[int, ...]:
    """Ids from the end of the model's turn to the opening of its next one, with `messages` between.

    Raises:
        InvalidChat: the template does not append (see `require_appending`), or cannot render these.
        UnknownText: the vocabulary has no ids for some character.
    """
    return _after(tokenizer, _PLAIN_PAST, messages, tools)


def require_appending(
    tokenizer: Tokenizer, messages: Messages, tools: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Refuse a template by which an episode is not one growing sequence.

    Raises:
        InvalidChat: it changes what was said when more is said, or appends this here and that there.
    """
    found = set()
    for past in _PASTS:
        if past[0]["role"] == "system" and not _knows_system(tokenizer):
            continue
        found.add(_after(tokenizer, past, messages, tools))
    if len(found) > 1:
        raise InvalidChat(
            "the chat template appends other tokens after other turns, so an episode would not be one "
            f"growing sequence; {WAYS}"
        )


def _after(
    tokenizer: Tokenizer, past: Messages, messages: Messages, tools: Sequence[Mapping[str, Any]]
) -> tuple[int, ...]:
    before = chat_ids(tokenizer, past, add_generation_prompt=False, now=_SOME_DAY, tools=tools)
    whole = chat_ids(tokenizer, [*past, *messages], now=_SOME_DAY, tools=tools)
    ends = [place for place, token in enumerate(before) if token in tokenizer.stop_ids]
    asked = chat_ids(tokenizer, past[:-1], now=_SOME_DAY, tools=tools)
    if not ends or ends[-1] < len(asked):
        raise InvalidChat(
            "the chat template ends the model's turn with none of the model's end tokens; add the token "
            "that it writes there to eos_token_id in generation_config.json"
        )
    end = ends[-1] + 1
    if whole[:end] != before[:end] or whole[: len(asked)] != asked:
        raise InvalidChat(
            "the chat template changes earlier turns when later ones come, so an episode would not be one "
            f"growing sequence; {WAYS}"
        )
    return tuple(whole[end:])


def _knows_system(tokenizer: Tokenizer) -> bool:
    try:
        chat_ids(tokenizer, [{"role": "system", "content": "c"}, *_PLAIN_PAST[:1]], now=_SOME_DAY)
    except InvalidChat:
        return False
    return True
