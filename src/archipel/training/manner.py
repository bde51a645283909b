"""How one model holds a conversation of several turns: its tool format, and what is appended after its turns.

Law: what the model said stays the tokens that it sampled; an answer is encoded once, alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from archipel.model.appending import appended, require_appending
from archipel.model.chat import InvalidChat
from archipel.model.dialogue import chat_ids
from archipel.model.tokenizer import Tokenizer
from archipel.model.tool_calls import (
    BadCall,
    Call,
    Format,
    Tool,
    format_of,
    read_calls,
    written_call,
)
from archipel.records.episodes import ToolFormat
from archipel.records.recipe import PromptSection
from archipel.training.environments.episodic import MAX_MESSAGE_CHARS, Turn

MAX_KEPT = 4096
"""Answers whose tokens are kept."""
EXAMPLE = "an answer"


@dataclass(frozen=True)
class Manner:
    """Of one tokenizer, for one environment's tools."""

    tokenizer: Tokenizer
    uses_chat: bool
    form: Format
    tools: tuple[Tool, ...]
    retelling: PromptSection | None = None
    """What its template is told of each task where it may change earlier turns; None: it may not."""

    @property
    def retells(self) -> bool:
        """Whether all of a conversation is written anew after each turn (see `training.talk`)."""
        return self.uses_chat and self.retelling is not None

    @property
    def schemas(self) -> list[Mapping[str, Any]]:
        """What the template is told of tools."""
        return schemas(self.form, self.tools)

    def read(self, tokens: Sequence[int]) -> Turn:
        """What the model said in the tokens of one turn."""
        text = self.tokenizer.decode(tokens)
        try:
            return Turn(text, read_calls(text, self.form, self.tools))
        except BadCall as fault:
            return Turn(text, fault=str(fault))

    def said(self, what: str | Call) -> str:
        """A turn to be shown in the supervised stage."""
        return what if isinstance(what, str) else written_call(what, self.form)

    def answered(self, texts: tuple[str, ...], to_calls: bool) -> tuple[int, ...]:
        """Ids from the end of the model's turn to the opening of the next one: the environment's answer.

        Raises:
            InvalidChat, UnknownText: this model's template or vocabulary cannot express it.
        """
        return _answered(self, tuple(text[:MAX_MESSAGE_CHARS] for text in texts), to_calls)

    def opening(self, prompt: str) -> list[dict[str, str]]:
        """The messages before the model's first turn."""
        return opening(prompt, self.retelling or PromptSection())

    def written(self, messages: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
        """Ids of a whole conversation up to the opening of the model's next turn.

        Raises:
            InvalidChat, UnknownText: this model's template or vocabulary cannot express it.
        """
        now = day_of(self.retelling or PromptSection())
        return tuple(chat_ids(self.tokenizer, messages, now=now, tools=self.schemas))

    def require_turns(self) -> None:
        """Raises InvalidChat: this model's template does not do for several turns; where none may be changed, by it
        an episode is not one growing sequence.
        """
        for to_calls in (False, True) if self.uses_chat else ():
            answer = self.messages((EXAMPLE,), to_calls)
            if self.retells:
                said = {"role": "assistant", "content": EXAMPLE}
                self.written([*self.opening(EXAMPLE), said, *answer])
            else:
                require_appending(self.tokenizer, answer, self.schemas)

    def messages(self, texts: tuple[str, ...], to_calls: bool) -> list[dict[str, str]]:
        """An answer as messages."""
        role = "tool" if to_calls and self.form != "plain" else "user"
        return [{"role": role, "content": text[:MAX_MESSAGE_CHARS]} for text in texts]

    def __hash__(self) -> int:
        return hash((id(self.tokenizer), self.uses_chat, self.form))


def opening(prompt: str, form: PromptSection) -> list[dict[str, str]]:
    """A task's text as messages."""
    messages = [{"role": "user", "content": prompt}]
    if form.system is not None:
        messages.insert(0, {"role": "system", "content": form.system})
    return messages


def day_of(form: PromptSection) -> datetime | None:
    """What a template that asks for the date is told."""
    return None if form.date is None else datetime.fromisoformat(form.date)


def schemas(form: Format, tools: Sequence[Tool]) -> list[Mapping[str, Any]]:
    """What a chat template is told of tools; nothing where the model has no format for them."""
    return [] if form == "plain" else [tool.schema for tool in tools]


def format_for(tokenizer: Tokenizer, uses_chat: bool, chosen: ToolFormat) -> Format:
    """The format that a recipe chose, or the one that the model's template shows.

    Raises:
        InvalidChat: it needs a template for tools and the prompts use none.
    """
    if chosen == "auto":
        return format_of(tokenizer.chat_template if uses_chat else None)
    if chosen != "plain" and not uses_chat:
        raise InvalidChat(
            f'episode.tools is "{chosen}", but prompts use no chat template, so the model would not be told of '
            'its tools; set it to "auto" or "plain"'
        )
    return chosen


@lru_cache(MAX_KEPT)
def _answered(manner: Manner, texts: tuple[str, ...], to_calls: bool) -> tuple[int, ...]:
    if manner.uses_chat:
        messages = manner.messages(texts, to_calls)
        return appended(manner.tokenizer, messages, manner.schemas)
    told = "".join(f"{text}\n" for text in texts)
    return tuple(manner.tokenizer.encode(told, parse_special=False))
