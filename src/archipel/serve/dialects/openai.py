"""OpenAI's chat completions, completions and models: what their answers look like."""

import secrets
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from archipel.serve.dialects.dialect import Whole, event, logprobs_of, text_of
from archipel.serve.dialects.openai_asked import chat_asked, text_asked
from archipel.serve.question import Call, Ended, Question, Refusal, Said, Token


def chat_question(data: bytes) -> tuple[Question, "ChatStyle"]:
    """Raises Refusal."""
    question, body = chat_asked(data)
    return question, ChatStyle(body.model, bool(body.stream), body.wants_usage, bool(body.logprobs))


def text_question(data: bytes) -> tuple[Question, "TextStyle"]:
    """Raises Refusal."""
    question, body = text_asked(data)
    logprobs = body.logprobs is not None
    return question, TextStyle(body.model, bool(body.stream), body.wants_usage, logprobs)


class _Answer:
    """What chat and text completions share."""

    media = "text/event-stream"
    kind: ClassVar[str]
    prefix: ClassVar[str]

    def __init__(self, model: str, stream: bool, usage: bool, logprobs: bool) -> None:
        self.stream, self._usage, self._logprobs = stream, usage, logprobs
        self._model, self.id = model, f"{self.prefix}-{secrets.token_hex(12)}"
        self.since, self.fingerprint = 0, ""

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id, "object": kind, "created": self.since, "model": self._model,
            "system_fingerprint": self.fingerprint,
        }  # fmt: skip

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        return event(
            self._head(f"{self.kind}.chunk" if self.prefix == "chatcmpl" else self.kind)
            | {"choices": choices}
            | more
        )

    def end(self, prompt: int, sampled: int) -> Iterable[bytes]:
        """See `Style.end`."""
        if self._usage:
            yield self._chunk([], usage=used(prompt, sampled))
        yield b"data: [DONE]\n\n"

    def failed(self, why: Refusal) -> Iterable[bytes]:
        """See `Style.failed`."""
        yield event(refusal(why))
        yield b"data: [DONE]\n\n"


class ChatStyle(_Answer):
    """Of chat completions."""

    kind, prefix = "chat.completion", "chatcmpl"

    def begin(self) -> Iterable[bytes]:
        """See `Style.begin`."""
        return ()

    def told(self, told: Said | Ended) -> Iterable[bytes]:
        """See `Style.told`."""
        if isinstance(told, Said):
            delta: dict[str, Any] = {"content": told.text}
            if told.choice not in self._begun:
                self._begun.add(told.choice)
                delta = {"role": "assistant", **delta}
            if told.text or self._logprobs or "role" in delta:
                yield self._chunk([self._choice(told.choice, delta, None, told.tokens)])
            return
        if told.calls:
            calls = [{"index": n, **each} for n, each in enumerate(_calls(told.calls))]
            yield self._chunk([self._choice(told.choice, {"tool_calls": calls}, None, ())])
        yield self._chunk([self._choice(told.choice, {}, told.why, ())])

    def __init__(self, model: str, stream: bool, usage: bool, logprobs: bool) -> None:
        super().__init__(model, stream, usage, logprobs)
        self._begun = set[int]()

    def whole(self, choices: list[Whole], prompt: int, sampled: int) -> Mapping[str, Any]:
        """See `Style.whole`."""
        rows = [
            {
                "index": index,
                "message": _message(each),
                "finish_reason": each.ended.why if each.ended else None,
                "logprobs": _logprobs(each.tokens) if self._logprobs else None,
            }
            for index, each in enumerate(choices)
        ]
        return self._head(self.kind) | {"choices": rows, "usage": used(prompt, sampled)}

    def _choice(
        self, index: int, delta: dict[str, Any], why: str | None, tokens: tuple[Token, ...]
    ) -> dict[str, Any]:
        logprobs = _logprobs(tokens) if self._logprobs and tokens else None
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": why}


class TextStyle(_Answer):
    """Of completions."""

    kind, prefix = "text_completion", "cmpl"

    def begin(self) -> Iterable[bytes]:
        """See `Style.begin`."""
        return ()

    def told(self, told: Said | Ended) -> Iterable[bytes]:
        """See `Style.told`."""
        text, why = (told.text, None) if isinstance(told, Said) else ("", told.why)
        tokens = told.tokens if isinstance(told, Said) and self._logprobs else ()
        if text or why or tokens:
            start = self._starts.get(told.choice, 0)
            self._starts[told.choice] = start + sum(len(text_of(each)) for each in tokens)
            logprobs = _old_logprobs(tokens, start) if tokens else None
            row = {"index": told.choice, "text": text, "logprobs": logprobs, "finish_reason": why}
            yield self._chunk([row])

    def __init__(self, model: str, stream: bool, usage: bool, logprobs: bool) -> None:
        super().__init__(model, stream, usage, logprobs)
        self._starts = dict[int, int]()
        """Of each choice: characters before its next token."""

    def whole(self, choices: list[Whole], prompt: int, sampled: int) -> Mapping[str, Any]:
        """See `Style.whole`."""
        rows = [
            {
                "index": index,
                "text": each.text,
                "finish_reason": each.ended.why if each.ended else None,
                "logprobs": _old_logprobs(each.tokens) if self._logprobs else None,
            }
            for index, each in enumerate(choices)
        ]
        return self._head(self.kind) | {"choices": rows, "usage": used(prompt, sampled)}


def models(names: Mapping[str, int]) -> Mapping[str, Any]:
    """GET /v1/models. names: with the second since when each is served."""
    rows = [
        {"id": name, "object": "model", "created": since, "owned_by": "you"}
        for name, since in names.items()
    ]
    return {"object": "list", "data": rows}


def used(prompt: int, sampled: int) -> dict[str, int]:
    """Tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": sampled, "total_tokens": prompt + sampled}


def refusal(why: Refusal) -> dict[str, Any]:
    """An error's body."""
    return {"error": {"message": str(why), "type": why.kind, "param": why.param, "code": why.code}}


def _message(choice: Whole) -> dict[str, Any]:
    calls = choice.ended.calls if choice.ended else ()
    message: dict[str, Any] = {
        "role": "assistant",
        "content": choice.text or (None if calls else ""),
        "refusal": None,
    }
    return message | ({"tool_calls": _calls(calls)} if calls else {})


def _calls(calls: tuple[Call, ...]) -> list[dict[str, Any]]:
    return [
        {
            "id": f"call_{secrets.token_hex(8)}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for call in calls
    ]


def _logprobs(tokens: Iterable[Token]) -> dict[str, Any]:
    return {"content": logprobs_of(tokens), "refusal": None}


def _old_logprobs(tokens: Iterable[Token], start: int = 0) -> dict[str, Any]:
    held = list(tokens)
    texts = [text_of(each) for each in held]
    starts = [start + sum(map(len, texts[:n])) for n in range(len(texts))]
    top = [{text_of(other): other.logprob for other in each.top} for each in held]
    return {
        "tokens": texts,
        "token_logprobs": [each.logprob for each in held],
        "top_logprobs": top if any(top) else None,
        "text_offset": starts,
    }
