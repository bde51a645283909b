"""OpenAI's responses: items in, items out, a stream of named events with one counter.

Order of a stream, of which the client's helper needs four: created, in_progress, output_item.added,
content_part.added, output_text.delta*, output_text.done, content_part.done, output_item.done, completed. Calls of
functions are items of their own. Nothing is stored: `previous_response_id` is refused.
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from archipel.serve.dialects.dialect import Whole, event, logprobs_of
from archipel.serve.dialects.openai_responses_asked import ResponsesBody, asked
from archipel.serve.question import Call, Ended, Question, Refusal, Said


def question(data: bytes) -> tuple[Question, "Style"]:
    """Raises Refusal."""
    found, body = asked(data)
    return found, Style(body)


class Style:
    """Of one response."""

    media = "text/event-stream"

    def __init__(self, body: ResponsesBody) -> None:
        self._body, self.stream = body, bool(body.stream)
        self._id, self._message = f"resp_{secrets.token_hex(12)}", f"msg_{secrets.token_hex(12)}"
        self._number, self._text, self._ended = 0, "", Ended(0, "stop", 0)
        self._logprobs: list[dict[str, Any]] = []
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
            return
        logprobs = logprobs_of(told.tokens) if self._body.wants_logprobs else []
        self._logprobs += logprobs
        if told.text or logprobs:
            self._text += told.text
            more = {"delta": told.text, "logprobs": logprobs}
            yield self._event("response.output_text.delta", **self._place, **more)

    def end(self, prompt: int, sampled: int) -> Iterable[bytes]:
        """See `dialect.Style.end`."""
        text, items = self._text, self._items()
        logprobs = self._logprobs
        done = {"text": text, "logprobs": logprobs}
        yield self._event("response.output_text.done", **self._place, **done)
        yield self._event("response.content_part.done", **self._place, part=_part(text, logprobs))
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
        self._logprobs = logprobs_of(one.tokens) if self._body.wants_logprobs else []
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
        content = [] if status == "in_progress" else [_part(self._text, self._logprobs)]
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
            "parallel_tool_calls": body.parallel_tool_calls is not False, "previous_response_id": None, "store": False,
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


def _part(text: str, logprobs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs or []}


def _used(prompt: int, sampled: int) -> dict[str, Any]:
    return {
        "input_tokens": prompt, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": sampled, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + sampled,
    }  # fmt: skip
