"""Anthropic's messages and count_tokens, as the client 2.14 calls them.

A stream is named events: message_start, then of each block content_block_start, _delta and _stop, then
message_delta and message_stop.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr

from archipel.serve.dialects.dialect import Body, Number, Whole, event, read
from archipel.serve.question import (
    BadQuestion,
    Call,
    Calling,
    Ended,
    Form,
    Question,
    Refusal,
    Said,
    Settings,
)

NOT_DONE = (
    "thinking", "mcp_servers", "container", "context_management",
    # Of other dialects, and no fields here:
    "stop", "n", "seed", "logit_bias", "presence_penalty", "frequency_penalty", "response_format",
)  # fmt: skip
MAX_MESSAGES = 4096
WHY = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class _Block(Body):
    type: StrictStr
    text: StrictStr = ""
    id: StrictStr = ""
    name: StrictStr = ""
    input: dict[str, Any] = Field(default_factory=dict)
    tool_use_id: StrictStr = ""
    content: "StrictStr | list[_Block]" = ""


class _Message(Body):
    role: Literal["user", "assistant"]
    content: StrictStr | list[_Block]


class _Tool(Body):
    name: StrictStr
    description: StrictStr = ""
    input_schema: dict[str, Any] = Field(default_factory=dict)


class _Choice(Body):
    type: Literal["auto", "any", "tool", "none"]
    name: StrictStr | None = None
    disable_parallel_tool_use: StrictBool = False

    @property
    def calling(self) -> Calling | None:
        """None: no tool may be called."""
        if self.type == "none":
            return None
        is_single = self.disable_parallel_tool_use
        if self.type == "tool":
            if self.name is None:
                raise BadQuestion("tool_choice names no tool; give its name", "tool_choice")
            return Calling(is_forced=True, name=self.name, is_single=True)
        return Calling(is_forced=self.type == "any", is_single=is_single)


class _Format(Body):
    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class _Output(Body):
    format: _Format | None = None


class CountBody(Body):
    """POST /v1/messages/count_tokens."""

    model: StrictStr
    messages: Annotated[list[_Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    system: StrictStr | list[_Block] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    output_format: _Format | None = None
    output_config: _Output | None = None

    @property
    def form(self) -> Form | None:
        """Raises BadQuestion."""
        held = self.output_format or (self.output_config and self.output_config.format)
        return Form.of(held.schema_, "output_format") if held else None


class MessagesBody(CountBody):
    """POST /v1/messages."""

    max_tokens: StrictInt
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: StrictInt | None = None
    stop_sequences: list[StrictStr] | None = None
    stream: StrictBool = False


def question(data: bytes) -> tuple[Question, "Style"]:
    """Raises Refusal."""
    body = read(MessagesBody, data, NOT_DONE)
    settings = Settings(
        max_new_tokens=body.max_tokens,
        temperature=1.0 if body.temperature is None else float(body.temperature),
        top_p=1.0 if body.top_p is None else float(body.top_p),
        top_k=body.top_k or 0,
        stop=tuple(body.stop_sequences or ()),
        form=body.form,
    )
    return _question(body, settings), Style(body.model, body.stream)


def counted(data: bytes) -> Question:
    """What is to be counted. Raises Refusal."""
    return _question(read(CountBody, data, NOT_DONE), Settings())


def count(num_tokens: int) -> Mapping[str, Any]:
    """The answer to that."""
    return {"input_tokens": num_tokens}


def _question(body: CountBody, settings: Settings) -> Question:
    system = _text(body.system) if body.system else ""
    turns = [{"role": "system", "content": system}] if system else []
    turns += [turn for each in body.messages for turn in _turns(each)]
    tools = tuple(
        {
            "type": "function",
            "function": {
                "name": each.name,
                "description": each.description,
                "parameters": each.input_schema,
            },
        }
        for each in body.tools or ()
    )
    calling = Calling() if body.tool_choice is None else body.tool_choice.calling
    if calling is None:
        tools = ()
    return Question(body.model, settings, tuple(turns), tools=tools, calling=calling or Calling())


def _turns(message: _Message) -> list[dict[str, Any]]:
    """A message of blocks: results of tools are turns of their own, before what is said beside them."""
    if isinstance(message.content, str):
        return [{"role": message.role, "content": message.content}]
    results = [block for block in message.content if block.type == "tool_result"]
    turns: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": each.tool_use_id, "content": _text(each.content)}
        for each in results
    ]
    calls = [
        {
            "type": "function",
            "id": each.id,
            "function": {"name": each.name, "arguments": each.input},
        }
        for each in message.content
        if each.type == "tool_use"
    ]
    said = _text(
        [block for block in message.content if block.type not in ("tool_result", "tool_use")]
    )
    if said or calls:
        turns.append(
            {"role": message.role, "content": said} | ({"tool_calls": calls} if calls else {})
        )
    return turns


def _text(content: str | list[_Block] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if strange := [block.type for block in content if block.type != "text"]:
        raise BadQuestion(
            f"a block of type {strange[0]!r:.40}; this model reads text alone", "messages"
        )
    return "".join(block.text for block in content)


@dataclass
class Style:
    """Of a message."""

    model: str
    stream: bool
    media = "text/event-stream"
    id: str = field(default_factory=lambda: f"msg_{secrets.token_hex(12)}")
    prompt: int = 0
    """Tokens; set before the answer begins."""
    _ended: Ended | None = None

    def begin(self) -> Iterable[bytes]:
        """See `dialect.Style.begin`."""
        usage = {"input_tokens": self.prompt, "output_tokens": 0}
        message = self._head() | {
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        yield self._event("message_start", message=message)
        yield self._event(
            "content_block_start", index=0, content_block={"type": "text", "text": ""}
        )

    def told(self, told: Said | Ended) -> Iterable[bytes]:
        """See `dialect.Style.told`."""
        if isinstance(told, Said):
            if told.text:
                delta = {"type": "text_delta", "text": told.text}
                yield self._event("content_block_delta", index=0, delta=delta)
            return
        self._ended = told
        yield self._event("content_block_stop", index=0)
        for index, call in enumerate(told.calls, 1):
            block = called(call)
            delta = {"type": "input_json_delta", "partial_json": call.arguments}
            yield self._event(
                "content_block_start", index=index, content_block=block | {"input": {}}
            )
            yield self._event("content_block_delta", index=index, delta=delta)
            yield self._event("content_block_stop", index=index)

    def end(self, prompt: int, sampled: int) -> Iterable[bytes]:
        """See `dialect.Style.end`."""
        why = WHY[self._ended.why] if self._ended else "end_turn"
        delta = {"stop_reason": why, "stop_sequence": None}
        yield self._event("message_delta", delta=delta, usage={"output_tokens": sampled})
        yield self._event("message_stop")

    def failed(self, why: Refusal) -> Iterable[bytes]:
        """See `dialect.Style.failed`."""
        yield event(refusal(why), "error")

    def whole(self, choices: list[Whole], prompt: int, sampled: int) -> Mapping[str, Any]:
        """See `dialect.Style.whole`."""
        (one,) = choices or [Whole()]
        calls = one.ended.calls if one.ended else ()
        content: list[dict[str, Any]] = (
            [{"type": "text", "text": one.text}] if one.text or not calls else []
        )
        content += [called(call) for call in calls]
        why = WHY[one.ended.why] if one.ended else "end_turn"
        usage = {"input_tokens": prompt, "output_tokens": sampled}
        return self._head() | {
            "content": content,
            "stop_reason": why,
            "stop_sequence": None,
            "usage": usage,
        }

    def _head(self) -> dict[str, Any]:
        return {"id": self.id, "type": "message", "role": "assistant", "model": self.model}

    def _event(self, name: str, **more: Any) -> bytes:
        return event({"type": name, **more}, name)


def called(call: Call) -> dict[str, Any]:
    """A call as a block."""
    return {
        "type": "tool_use",
        "id": f"toolu_{secrets.token_hex(8)}",
        "name": call.name,
        "input": json.loads(call.arguments),
    }


def refusal(why: Refusal) -> dict[str, Any]:
    """An error's body."""
    return {"type": "error", "error": {"type": why.kind, "message": str(why)}}
