"""Ollama's chat, generate, tags, show, ps and version, as its client 0.6.3 and Open WebUI call them.

A stream is one JSON object a line. Durations are nanoseconds.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import StrictStr

from archipel.model.tool_calls import format_of
from archipel.serve.asked import About, Asked, HasWeights, Reads
from archipel.serve.dialects.dialect import Body, Whole, compact, logprobs_of, read
from archipel.serve.dialects.ollama_asked import chat_asked, text_asked
from archipel.serve.question import Call, Ended, Question, Refusal, Said, Token

PRECISIONS = {"float32": "F32", "bfloat16": "BF16", "int8": "Q8", "int4": "Q4"}
FOREVER = "9999-12-31T23:59:59Z"


def chat_question(data: bytes) -> tuple[Question | None, "Style"]:
    """None: nothing is asked, the client wants the model loaded. Raises Refusal."""
    question, body = chat_asked(data)
    return question, Style(body.model, body.stream, is_chat=True, logprobs=body.logprobs)


def text_question(data: bytes, has_template: bool) -> tuple[Question | None, "Style"]:
    """has_template: then a prompt is a turn, unless it is raw. Raises Refusal."""
    question, body = text_asked(data, has_template)
    return question, Style(body.model, body.stream, is_chat=False, logprobs=body.logprobs)


@dataclass
class Style:
    """Of chat and generate."""

    model: str
    stream: bool
    is_chat: bool
    logprobs: bool = False
    media = "application/x-ndjson"
    _asked_ns: int = field(default_factory=time.monotonic_ns)
    _first_ns: int | None = None
    """When the first of the answer came; None: it is told whole."""
    _why: str = "stop"

    def begin(self) -> Iterable[bytes]:
        """See `dialect.Style.begin`."""
        return ()

    def told(self, told: Said | Ended) -> Iterable[bytes]:
        """See `dialect.Style.told`."""
        self._first_ns = self._first_ns or time.monotonic_ns()
        if isinstance(told, Ended):
            self._why = told.why
            if told.calls:
                yield self._line({"message": self._message("", told)} | {"done": False})
        elif told.text or (self.logprobs and told.tokens):
            yield self._line(self._said(told.text) | self._rows(told.tokens) | {"done": False})

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
        return self._head() | body | self._rows(one.tokens) | self._done(prompt, sampled)

    def loaded(self) -> Mapping[str, Any]:
        """Nothing was asked."""
        return self._head() | self._said("") | {"done": True, "done_reason": "load"}

    def _rows(self, tokens: Iterable[Token]) -> dict[str, Any]:
        if not self.logprobs:
            return {}
        return {"logprobs": logprobs_of(tokens)}

    def _said(self, text: str) -> dict[str, Any]:
        return {"message": self._message(text, None)} if self.is_chat else {"response": text}

    def _message(self, text: str, ended: Ended | None) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        calls = ended.calls if ended else ()
        if calls:
            message["tool_calls"] = [called(call) for call in calls]
        return message

    def _done(self, prompt: int, sampled: int) -> dict[str, Any]:
        now_ns = time.monotonic_ns()
        first_ns = self._first_ns or self._asked_ns
        return {
            "done": True,
            "done_reason": "length" if self._why == "length" else "stop",
            "total_duration": now_ns - self._asked_ns,
            "load_duration": 0,
            "prompt_eval_count": prompt,
            "prompt_eval_duration": first_ns - self._asked_ns,
            "eval_count": sampled,
            "eval_duration": now_ns - first_ns,
        }

    def _head(self) -> dict[str, Any]:
        return {"model": self.model, "created_at": _stamp(datetime.now(UTC))}

    def _line(self, more: Mapping[str, Any]) -> bytes:
        return compact(self._head() | dict(more)) + b"\n"


async def tags(served: Iterable[Asked]) -> Mapping[str, Any]:
    """GET /api/tags."""
    return {"models": [await _listed(each) for each in served]}


async def running(served: Iterable[Asked]) -> Mapping[str, Any]:
    """GET /api/ps: what is served stays loaded."""
    more = {"size_vram": 0, "expires_at": FOREVER}
    return {
        "models": [
            await _listed(each) | more | {"context_length": each.positions} for each in served
        ]
    }


async def _listed(one: Asked) -> dict[str, Any]:
    digest = await one.digest() if isinstance(one, HasWeights) else ""
    return {
        "name": one.name, "model": one.name, "modified_at": _stamp(datetime.fromtimestamp(one.since, UTC)),
        "size": about_of(one).num_bytes, "digest": digest.removeprefix("sha256:"), "details": _details(about_of(one)),
    }  # fmt: skip


def shown(one: Asked) -> Mapping[str, Any]:
    """POST /api/show."""
    about, can_call = about_of(one), format_of(one.chat_template) != "plain"
    family = about.family or "archipel"
    can = [
        "completion",
        *(["tools"] if can_call else []),
        *(["embedding"] if isinstance(one, Reads) else []),
    ]
    return {
        "template": one.chat_template or "", "parameters": "", "details": _details(about),
        "modified_at": _stamp(datetime.fromtimestamp(one.since, UTC)), "capabilities": can,
        "model_info": {
            "general.architecture": family, "general.parameter_count": about.num_parameters,
            f"{family}.context_length": one.positions, f"{family}.embedding_length": about.dimensions,
        },
    }  # fmt: skip


def about_of(one: Asked) -> About:
    """What it is, as far as it says that."""
    found = getattr(one, "about", None)
    return found if isinstance(found, About) else About()


def refusal(why: Refusal) -> dict[str, Any]:
    """An error's body."""
    return {"error": str(why)}


def _details(about: About) -> dict[str, Any]:
    family = about.family or "archipel"
    return {
        "parent_model": about.base, "format": "safetensors", "family": family, "families": [family],
        "parameter_size": _short(about.num_parameters),
        "quantization_level": PRECISIONS.get(about.precision, about.precision.upper()),
    }  # fmt: skip


def _short(count: int) -> str:
    """135M, 1.5B."""
    for letter, size in (("B", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size:
            found = count / size
            return f"{found:.0f}{letter}" if found >= 100 else f"{found:.3g}{letter}"
    return str(count) if count else ""


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
