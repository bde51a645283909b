"""OpenAI's chat completions, completions and models.

Fields as the client openai 3.57 sends them. Refused: what would change an answer and is not done here (`NOT_DONE`).
"""

import secrets
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from archipel.serve.dialects.dialect import Body, Whole, compact, event, read
from archipel.serve.question import (
    BadQuestion,
    Call,
    Ended,
    Question,
    Refusal,
    Said,
    Settings,
    Token,
)

NOT_DONE = (
    "audio", "modalities", "web_search_options", "prediction", "logit_bias", "presence_penalty", "frequency_penalty",
    "functions", "function_call", "top_logprobs", "suffix", "echo", "best_of",
)  # fmt: skip
MAX_MESSAGES = 4096
Number = StrictFloat | StrictInt
Roles = Literal["developer", "system", "user", "assistant", "tool"]


class _Part(Body):
    type: StrictStr
    text: StrictStr = ""


class _Function(Body):
    name: StrictStr
    arguments: StrictStr = "{}"


class _ToolCall(Body):
    id: StrictStr = ""
    function: _Function


class _Message(Body):
    role: Roles
    content: StrictStr | list[_Part] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: StrictStr | None = None
    name: StrictStr | None = None


class _StreamOptions(Body):
    include_usage: StrictBool = False


class _Format(Body):
    type: StrictStr = "text"


class _Sampling(Body):
    model: StrictStr
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: StrictInt | None = None
    min_p: Number | None = None
    n: StrictInt | None = None
    seed: StrictInt | None = None
    stop: StrictStr | list[StrictStr] | None = None
    stream: StrictBool | None = None
    stream_options: _StreamOptions | None = None

    def settings(self, max_new_tokens: int | None) -> Settings:
        """As the desk knows them."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Settings(
            max_new_tokens=max_new_tokens,
            temperature=1.0 if self.temperature is None else float(self.temperature),
            top_p=1.0 if self.top_p is None else float(self.top_p),
            top_k=self.top_k or 0,
            min_p=float(self.min_p or 0),
            seed=self.seed,
            choices=1 if self.n is None else self.n,
            stop=stop,
        )


class ChatBody(_Sampling):
    """POST /v1/chat/completions."""

    messages: Annotated[list[_Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_tokens: StrictInt | None = None
    max_completion_tokens: StrictInt | None = None
    logprobs: StrictBool | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: StrictStr | dict[str, Any] | None = None
    response_format: _Format | None = None


class TextBody(_Sampling):
    """POST /v1/completions."""

    prompt: StrictStr
    max_tokens: StrictInt | None = 16
    logprobs: StrictInt | None = None


def chat_question(data: bytes) -> tuple[Question, "ChatStyle"]:
    """Raises Refusal."""
    body = read(ChatBody, data, NOT_DONE)
    if body.response_format is not None and body.response_format.type != "text":
        raise BadQuestion(
            f"response_format {body.response_format.type!r:.40} is not done here; ask in words",
            "response_format",
        )
    if body.tool_choice not in (None, "auto", "none"):
        raise BadQuestion(
            "tool_choice is not auto or none; nothing else is done here", "tool_choice"
        )
    settings = body.settings(body.max_completion_tokens or body.max_tokens)
    messages = tuple(_turn(each) for each in body.messages)
    tools = tuple(body.tools or ()) if body.tool_choice != "none" else ()
    for tool in tools:
        if not isinstance(tool.get("function"), dict) or not isinstance(
            tool["function"].get("name"), str
        ):
            raise BadQuestion("a tool needs type and function with a name", "tools")
    usage = body.stream_options is not None and body.stream_options.include_usage
    style = ChatStyle(body.model, bool(body.stream), usage, bool(body.logprobs))
    return Question(body.model, settings, messages, tools=tools), style


def text_question(data: bytes) -> tuple[Question, "TextStyle"]:
    """Raises Refusal."""
    body = read(TextBody, data, NOT_DONE)
    usage = body.stream_options is not None and body.stream_options.include_usage
    style = TextStyle(body.model, bool(body.stream), usage, body.logprobs is not None)
    return Question(body.model, body.settings(body.max_tokens), text=body.prompt), style


def _turn(message: _Message) -> Mapping[str, Any]:
    """As chat templates are given it."""
    content = message.content
    if isinstance(content, list):
        if strange := [part.type for part in content if part.type != "text"]:
            raise BadQuestion(
                f"a part of type {strange[0]!r:.40}; this model reads text alone", "messages"
            )
        content = "".join(part.text for part in content)
    role = "system" if message.role == "developer" else message.role
    turn: dict[str, Any] = {"role": role, "content": content or ""}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"type": "function", "id": call.id, "function": call.function.model_dump()}
            for call in message.tool_calls
        ]
    named = {"tool_call_id": message.tool_call_id, "name": message.name}
    return turn | {key: value for key, value in named.items() if value is not None}


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
        if text or why:
            yield self._chunk(
                [{"index": told.choice, "text": text, "logprobs": None, "finish_reason": why}]
            )

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


def refusal_bytes(why: Refusal) -> bytes:
    """The same, as sent."""
    return compact(refusal(why))


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
    rows = [
        {
            "token": each.piece.decode("utf-8", "replace"),
            "logprob": each.logprob,
            "bytes": list(each.piece),
            "top_logprobs": [],
        }
        for each in tokens
    ]
    return {"content": rows, "refusal": None}


def _old_logprobs(tokens: Iterable[Token]) -> dict[str, Any]:
    held = list(tokens)
    texts = [each.piece.decode("utf-8", "replace") for each in held]
    starts = [sum(map(len, texts[:n])) for n in range(len(texts))]
    return {
        "tokens": texts,
        "token_logprobs": [each.logprob for each in held],
        "top_logprobs": None,
        "text_offset": starts,
    }
