"""Ollama's chat, generate, tags, show, ps and version, as its client 0.6.3 and Open WebUI call them.

A stream is one JSON object a line. Durations are nanoseconds.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr

from archipel.serve.dialects.dialect import Body, Whole, compact, read
from archipel.serve.question import (
    ANY_OBJECT,
    BadQuestion,
    Bends,
    Call,
    Ended,
    Form,
    NotOffered,
    Question,
    Refusal,
    Said,
    Settings,
)

NOT_DONE = ("images", "suffix", "template", "context", "top_logprobs", "think")
MAX_MESSAGES = 4096
Number = StrictFloat | StrictInt


class _Options(Body):
    num_predict: StrictInt | None = None
    temperature: Number | None = None
    top_k: StrictInt | None = None
    top_p: Number | None = None
    min_p: Number | None = None
    seed: StrictInt | None = None
    presence_penalty: Number | None = None
    frequency_penalty: Number | None = None
    repeat_penalty: Number | None = None
    stop: list[StrictStr] | StrictStr | None = None

    def settings(self, form: Form | None) -> Settings:
        """As the desk knows them. Raises NotOffered."""
        if self.repeat_penalty not in (None, 1):
            raise NotOffered(
                "repeat_penalty is not done here; use frequency_penalty", "repeat_penalty"
            )
        most = self.num_predict
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Settings(
            max_new_tokens=None if most is None or most < 0 else most,
            temperature=0.8 if self.temperature is None else float(self.temperature),
            top_p=1.0 if self.top_p is None else float(self.top_p),
            top_k=self.top_k or 0,
            min_p=float(self.min_p or 0),
            seed=self.seed,
            stop=stop,
            bends=Bends({}, float(self.presence_penalty or 0), float(self.frequency_penalty or 0)),
            form=form,
        )


class _Function(Body):
    name: StrictStr
    arguments: dict[str, Any] = Field(default_factory=dict)


class _Call(Body):
    function: _Function


class _Message(Body):
    role: Literal["system", "user", "assistant", "tool"]
    content: StrictStr = ""
    images: list[StrictStr] | None = None
    tool_calls: list[_Call] | None = None
    tool_name: StrictStr | None = None


class ChatBody(Body):
    """POST /api/chat."""

    model: StrictStr
    messages: Annotated[list[_Message], Field(default_factory=list, max_length=MAX_MESSAGES)]
    tools: list[dict[str, Any]] | None = None
    options: _Options | None = None
    format: StrictStr | dict[str, Any] | None = None
    stream: StrictBool = True


class TextBody(Body):
    """POST /api/generate."""

    model: StrictStr
    prompt: StrictStr = ""
    system: StrictStr | None = None
    raw: StrictBool = False
    options: _Options | None = None
    format: StrictStr | dict[str, Any] | None = None
    stream: StrictBool = True


def chat_question(data: bytes) -> tuple[Question | None, "Style"]:
    """None: nothing is asked, the client wants the model loaded. Raises Refusal."""
    body = read(ChatBody, data, NOT_DONE)
    style = Style(body.model, body.stream, is_chat=True)
    if not body.messages:
        return None, style
    settings = (body.options or _Options()).settings(_form(body.format))
    turns = tuple(_turn(each) for each in body.messages)
    return Question(body.model, settings, turns, tools=tuple(body.tools or ())), style


def text_question(data: bytes, has_template: bool) -> tuple[Question | None, "Style"]:
    """has_template: then a prompt is a turn, unless it is raw. Raises Refusal."""
    body = read(TextBody, data, NOT_DONE)
    style = Style(body.model, body.stream, is_chat=False)
    settings = (body.options or _Options()).settings(_form(body.format))
    if not body.prompt:
        return None, style
    if body.raw or not has_template:
        return Question(body.model, settings, text=body.prompt), style
    system = [{"role": "system", "content": body.system}] if body.system else []
    return Question(
        body.model, settings, (*system, {"role": "user", "content": body.prompt})
    ), style


def _form(said: str | dict[str, Any] | None) -> Form | None:
    if not said:
        return None
    if isinstance(said, str) and said != "json":
        raise BadQuestion(f"format is {said!r:.40}; expected json or a schema", "format")
    return Form.of(ANY_OBJECT if isinstance(said, str) else said, "format")


def _turn(message: _Message) -> Mapping[str, Any]:
    if message.images:
        raise BadQuestion("an image; this model reads text alone", "messages")
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"type": "function", "function": call.function.model_dump()}
            for call in message.tool_calls
        ]
    return turn | ({"name": message.tool_name} if message.tool_name else {})


@dataclass
class Style:
    """Of chat and generate."""

    model: str
    stream: bool
    is_chat: bool
    media = "application/x-ndjson"
    took_ns: int = 0
    """From question to end; set by whoever has a clock."""
    _why: str = "stop"

    def begin(self) -> Iterable[bytes]:
        """See `dialect.Style.begin`."""
        return ()

    def told(self, told: Said | Ended) -> Iterable[bytes]:
        """See `dialect.Style.told`."""
        if isinstance(told, Ended):
            self._why = told.why
            if told.calls:
                yield self._line({"message": self._message("", told)} | {"done": False})
        elif told.text:
            yield self._line(self._said(told.text) | {"done": False})

    def end(self, prompt: int, sampled: int) -> Iterable[bytes]:
        """See `dialect.Style.end`."""
        yield self._line(self._said("") | self._done(prompt, sampled))

    def failed(self, why: Refusal) -> Iterable[bytes]:
        """See `dialect.Style.failed`."""
        yield compact(refusal(why)) + b"\n"

    def whole(self, choices: list[Whole], prompt: int, sampled: int) -> Mapping[str, Any]:
        """See `dialect.Style.whole`."""
        (one,) = choices or [Whole()]
        if one.ended is not None:
            self._why = one.ended.why
        body = (
            {"message": self._message(one.text, one.ended)}
            if self.is_chat
            else {"response": one.text}
        )
        return self._head() | body | self._done(prompt, sampled)

    def loaded(self) -> Mapping[str, Any]:
        """Nothing was asked."""
        return self._head() | self._said("") | {"done": True, "done_reason": "load"}

    def _said(self, text: str) -> dict[str, Any]:
        return {"message": self._message(text, None)} if self.is_chat else {"response": text}

    def _message(self, text: str, ended: Ended | None) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        calls = ended.calls if ended else ()
        if calls:
            message["tool_calls"] = [called(call) for call in calls]
        return message

    def _done(self, prompt: int, sampled: int) -> dict[str, Any]:
        return {
            "done": True,
            "done_reason": "length" if self._why == "length" else "stop",
            "total_duration": self.took_ns,
            "load_duration": 0,
            "prompt_eval_count": prompt,
            "prompt_eval_duration": 0,
            "eval_count": sampled,
            "eval_duration": self.took_ns,
        }

    def _head(self) -> dict[str, Any]:
        return {"model": self.model, "created_at": _stamp(datetime.now(UTC))}

    def _line(self, more: Mapping[str, Any]) -> bytes:
        return compact(self._head() | dict(more)) + b"\n"


def tags(names: Mapping[str, int], sizes: Mapping[str, int]) -> Mapping[str, Any]:
    """GET /api/tags and /api/ps."""
    rows = [
        {
            "name": name, "model": name, "modified_at": _stamp(datetime.fromtimestamp(since, UTC)),
            "size": sizes.get(name, 0), "digest": "", "details": _details(),
        }
        for name, since in names.items()
    ]  # fmt: skip
    return {"models": rows}


def shown(template: str | None, positions: int, can_call: bool) -> Mapping[str, Any]:
    """POST /api/show."""
    return {
        "template": template or "", "parameters": "", "details": _details(),
        "model_info": {"general.architecture": "archipel", "archipel.context_length": positions},
        "capabilities": ["completion", *(["tools"] if can_call else [])],
    }  # fmt: skip


def refusal(why: Refusal) -> dict[str, Any]:
    """An error's body."""
    return {"error": str(why)}


def _details() -> dict[str, Any]:
    return {
        "parent_model": "", "format": "safetensors", "family": "archipel", "families": ["archipel"],
        "parameter_size": "", "quantization_level": "",
    }  # fmt: skip


def called(call: Call) -> dict[str, Any]:
    """A call as a message has it."""
    return {"function": {"name": call.name, "arguments": json.loads(call.arguments)}}


def _stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


class NamedBody(Body):
    """POST /api/show."""

    model: StrictStr = ""
    name: StrictStr = ""


def asked_name(data: bytes) -> str:
    """Which model a request means. Raises Refusal."""
    body = read(NamedBody, data)
    return body.model or body.name
