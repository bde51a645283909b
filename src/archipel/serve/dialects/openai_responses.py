"""OpenAI's responses: items in, items out, a stream of named events with one counter.

Order of a stream, of which the client's helper needs four: created, in_progress, output_item.added,
content_part.added, output_text.delta*, output_text.done, content_part.done, output_item.done, completed. Calls of
functions are items of their own. Nothing is stored: `previous_response_id` is refused.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from archipel.serve.dialects.dialect import Body, Whole, event, read
from archipel.serve.question import (
    ANY_OBJECT,
    BadQuestion,
    Call,
    Ended,
    Form,
    Question,
    Refusal,
    Said,
    Settings,
)

NOT_DONE = (
    "previous_response_id",
    "conversation",
    "prompt",
    "background",
    "top_logprobs",
    "context_management",
)
MAX_ITEMS = 4096
Number = StrictFloat | StrictInt


class _Part(Body):
    type: StrictStr
    text: StrictStr = ""


class _Item(Body):
    type: StrictStr = "message"
    role: Literal["developer", "system", "user", "assistant"] | None = None
    content: StrictStr | list[_Part] = ""
    call_id: StrictStr = ""
    name: StrictStr = ""
    arguments: StrictStr = "{}"
    output: StrictStr = ""


class _Format(Body):
    type: StrictStr = "text"
    schema_: dict[str, Any] | None = Field(None, alias="schema")

    @property
    def form(self) -> Form | None:
        """Raises BadQuestion."""
        if self.type == "text":
            return None
        if self.type not in ("json_object", "json_schema"):
            raise BadQuestion(
                f"text.format {self.type!r:.40}; expected text, json_object or json_schema", "text"
            )
        return Form.of(ANY_OBJECT if self.schema_ is None else self.schema_, "text")


class _Text(Body):
    format: _Format | None = None


class _Tool(Body):
    type: StrictStr
    name: StrictStr = ""
    description: StrictStr | None = None
    parameters: dict[str, Any] | None = None


class ResponsesBody(Body):
    """POST /v1/responses."""

    model: StrictStr
    input: StrictStr | Annotated[list[_Item], Field(min_length=1, max_length=MAX_ITEMS)]
    instructions: StrictStr | None = None
    max_output_tokens: StrictInt | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    stream: StrictBool | None = None
    text: _Text | None = None
    tools: list[_Tool] | None = None
    tool_choice: StrictStr | dict[str, Any] | None = None


def question(data: bytes) -> tuple[Question, "Style"]:
    """Raises Refusal."""
    body = read(ResponsesBody, data, NOT_DONE)
    if body.tool_choice not in (None, "auto", "none"):
        raise BadQuestion(
            "tool_choice is not auto or none; nothing else is done here", "tool_choice"
        )
    settings = Settings(
        max_new_tokens=body.max_output_tokens,
        temperature=1.0 if body.temperature is None else float(body.temperature),
        top_p=1.0 if body.top_p is None else float(body.top_p),
        form=None if body.text is None or body.text.format is None else body.text.format.form,
    )
    tools = tuple(_schema(each) for each in body.tools or () if each.type == "function")
    if body.tool_choice == "none":
        tools = ()
    return Question(body.model, settings, tuple(_turns(body)), tools=tools), Style(body)


def _schema(tool: _Tool) -> dict[str, Any]:
    about = {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.parameters or {},
    }
    return {"type": "function", "function": about}


def _turns(body: ResponsesBody) -> list[dict[str, Any]]:
    """System's words first, in one turn: most templates take no other."""
    items = [_Item(role="user", content=body.input)] if isinstance(body.input, str) else body.input
    told = [body.instructions] if body.instructions else []
    turns: list[dict[str, Any]] = []
    for item in items:
        if item.type == "function_call":
            function = {"name": item.name, "arguments": item.arguments}
            call = {"type": "function", "id": item.call_id, "function": function}
            turns.append({"role": "assistant", "content": "", "tool_calls": [call]})
        elif item.type == "function_call_output":
            turns.append({"role": "tool", "tool_call_id": item.call_id, "content": item.output})
        elif item.type != "message" or item.role is None:
            raise BadQuestion(
                f"an item of type {item.type!r:.40}; this model reads messages and calls", "input"
            )
        elif item.role in ("developer", "system"):
            told.append(_said(item))
        else:
            turns.append({"role": item.role, "content": _said(item)})
    return [*([{"role": "system", "content": "\n\n".join(told)}] if told else []), *turns]


def _said(item: _Item) -> str:
    if isinstance(item.content, str):
        return item.content
    if strange := [
        part.type for part in item.content if part.type not in ("input_text", "output_text")
    ]:
        raise BadQuestion(
            f"a part of type {strange[0]!r:.40}; this model reads text alone", "input"
        )
    return "".join(part.text for part in item.content)


class Style:
    """Of one response."""

    media = "text/event-stream"

    def __init__(self, body: ResponsesBody) -> None:
        self._body, self.stream = body, bool(body.stream)
        self._id, self._message = f"resp_{secrets.token_hex(12)}", f"msg_{secrets.token_hex(12)}"
        self._number, self._text, self._ended = 0, "", Ended(0, "stop", 0)
        self.since = 0

    def begin(self) -> Iterable[bytes]:
        """See `dialect.Style.begin`."""
        yield self._event("response.created", response=self._response("in_progress", [], None))
        yield self._event("response.in_progress", response=self._response("in_progress", [], None))
        yield self._event(
            "response.output_item.added", output_index=0, item=self._item("in_progress")
        )
        yield self._event("response.content_part.added", **self._place, part=_part(""))

    def told(self, told: Said | Ended) -> Iterable[bytes]:
        """See `dialect.Style.told`."""
        if isinstance(told, Ended):
            self._ended = told
        elif told.text:
            self._text += told.text
            yield self._event(
                "response.output_text.delta", **self._place, delta=told.text, logprobs=[]
            )

    def end(self, prompt: int, sampled: int) -> Iterable[bytes]:
        """See `dialect.Style.end`."""
        text, items = self._text, self._items()
        yield self._event("response.output_text.done", **self._place, text=text, logprobs=[])
        yield self._event("response.content_part.done", **self._place, part=_part(text))
        yield self._event("response.output_item.done", output_index=0, item=items[0])
        for index, item in enumerate(items[1:], 1):
            place = {"item_id": item["id"], "output_index": index}
            arguments = item["arguments"]
            fresh = item | {"arguments": "", "status": "in_progress"}
            yield self._event("response.output_item.added", output_index=index, item=fresh)
            yield self._event("response.function_call_arguments.delta", **place, delta=arguments)
            yield self._event("response.function_call_arguments.done", **place, arguments=arguments)
            yield self._event("response.output_item.done", output_index=index, item=item)
        yield self._last(items, prompt, sampled)

    def failed(self, why: Refusal) -> Iterable[bytes]:
        """See `dialect.Style.failed`."""
        response = self._response("failed", self._items(), None)
        error = {"code": why.code or why.kind, "message": str(why)}
        yield self._event("response.failed", response=response | {"error": error})

    def whole(self, choices: list[Whole], prompt: int, sampled: int) -> Mapping[str, Any]:
        """See `dialect.Style.whole`."""
        (one,) = choices or [Whole()]
        self._text, self._ended = one.text, one.ended or self._ended
        return self._response(self._status, self._items(), _used(prompt, sampled))

    def _last(self, items: list[dict[str, Any]], prompt: int, sampled: int) -> bytes:
        response = self._response(self._status, items, _used(prompt, sampled))
        return self._event(f"response.{self._status}", response=response)

    @property
    def _status(self) -> str:
        return "incomplete" if self._ended.why == "length" else "completed"

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._message, "output_index": 0, "content_index": 0}

    def _items(self) -> list[dict[str, Any]]:
        return [self._item(self._status), *(called(call) for call in self._ended.calls)]

    def _item(self, status: str) -> dict[str, Any]:
        content = [] if status == "in_progress" else [_part(self._text)]
        return {
            "id": self._message,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _event(self, kind: str, **more: Any) -> bytes:
        told = event({"type": kind, "sequence_number": self._number, **more}, kind)
        self._number += 1
        return told

    def _response(self, status: str, output: list[dict[str, Any]], usage: Any) -> dict[str, Any]:
        body = self._body
        reason = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": self._id, "object": "response", "created_at": self.since, "status": status, "error": None,
            "incomplete_details": reason, "instructions": body.instructions, "metadata": {},
            "max_output_tokens": body.max_output_tokens, "model": body.model, "output": output,
            "parallel_tool_calls": True, "previous_response_id": None, "store": False,
            "temperature": body.temperature, "top_p": body.top_p, "tool_choice": body.tool_choice or "auto",
            "tools": [each.model_dump() | {"strict": False} for each in body.tools or ()],
            "text": {"format": {"type": "text"}}, "truncation": "disabled", "usage": usage,
        }  # fmt: skip


def called(call: Call) -> dict[str, Any]:
    """A call as an item."""
    return {
        "id": f"fc_{secrets.token_hex(8)}", "type": "function_call", "status": "completed",
        "call_id": f"call_{secrets.token_hex(8)}", "name": call.name, "arguments": call.arguments,
    }  # fmt: skip


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _used(prompt: int, sampled: int) -> dict[str, Any]:
    return {
        "input_tokens": prompt, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": sampled, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + sampled,
    }  # fmt: skip
