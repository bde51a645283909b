"""A large model elsewhere: a server that speaks OpenAI's chat completions, asked only where its owner's policy lets questions leave.

Parts: `Away` (an `Asked`), `Leaving` (what left). Laws: it dials the one address that it was given, through no proxy; every byte of a question
that leaves is counted before it is sent; whatever comes back is bounded.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

import httpx

from archipel.serve.asked import Told
from archipel.serve.cascade.streams import Heard, lines_of
from archipel.serve.question import (
    BadQuestion,
    Broken,
    Calling,
    Crowded,
    NotOffered,
    Question,
    Refusal,
)

CONNECT_S = 10.0
SILENCE_S = 300.0
"""Longest without a byte."""
MAX_ERROR_BYTES = 4096


class Unreachable(Refusal):
    """The large model's server does not answer."""

    status: ClassVar[int] = 503
    kind: ClassVar[str] = "server_error"


@dataclass
class Leaving:
    """What left this machine."""

    questions: int = 0
    num_bytes: int = 0
    """Of questions, as they were sent."""


@dataclass(frozen=True, eq=False)
class Away:
    """A model of that name at that address."""

    name: str
    url: str
    """Up to and without /chat/completions."""
    since: int
    key: str | None = None
    left: Leaving = field(default_factory=Leaving)
    positions: int = 1 << 20
    """Nobody here knows: its server says where a question is too long."""
    chat_template: str | None = ""
    """It takes turns; how they become a prompt is its own affair."""
    transport: httpx.AsyncBaseTransport | None = None
    """None: the network."""

    @property
    def fingerprint(self) -> str:
        """See `asked.Asked`."""
        return f"away-{self.name}"

    def counts(self) -> Mapping[str, int]:
        """See `asked.Asked`; what left."""
        return {"questions_left": self.left.questions, "bytes_left": self.left.num_bytes}

    async def count(self, question: Question, key: str, now: datetime) -> int:
        """See `asked.Asked`: nobody here knows.

        Raises:
            NotOffered: always.
        """
        raise NotOffered("tokens of a model on another server cannot be counted here")

    async def ask(self, question: Question, key: str, now: datetime) -> "AwayAnswer":
        """See `asked.Asked.ask`; it leaves when the answer is read."""
        return AwayAnswer(self, question, json.dumps(body_of(question, self.name)).encode())

    def sent(self, body: bytes) -> None:
        """Count it."""
        self.left.questions += 1
        self.left.num_bytes += len(body)


class AwayAnswer:
    """See `asked.Answering`."""

    def __init__(self, away: Away, question: Question, body: bytes) -> None:
        self._away, self.question, self._body = away, question, body
        self._heard = Heard(question.settings.choices)

    @property
    def num_prompt_tokens(self) -> int:
        """As its server counts them, once it has."""
        return self._heard.num_prompt_tokens

    @property
    def num_tokens(self) -> int:
        """The same."""
        return self._heard.num_tokens

    def leave(self) -> None:
        """The connection is closed where `told` is left."""

    async def told(self) -> AsyncIterator[Told]:
        """See `asked.Answering.told`."""
        away = self._away
        head = {"content-type": "application/json"}
        if away.key:
            head["authorization"] = f"Bearer {away.key}"
        limits = httpx.Timeout(SILENCE_S, connect=CONNECT_S)
        try:
            async with httpx.AsyncClient(
                timeout=limits, trust_env=False, transport=away.transport
            ) as client:
                away.sent(self._body)
                address = f"{away.url}/chat/completions"
                async with client.stream(
                    "POST", address, content=self._body, headers=head
                ) as response:
                    if response.status_code != 200:
                        raise await _refused(response)
                    async for line in lines_of(response.aiter_bytes()):
                        for each in self._heard.line(line):
                            yield each
        except httpx.HTTPError as error:
            raise Unreachable(
                f"the large model's server at {away.url} does not answer ({type(error).__name__}); start it, or ask again later"
            ) from None
        for each in self._heard.end():
            yield each


def body_of(question: Question, model: str) -> dict[str, Any]:
    """What is sent: the question, and only such settings as differ from what every server takes for granted.

    Raises:
        NotOffered: what not every such server does, or tokens by the numbers of another tokenizer.
    """
    settings = question.settings
    _check(question)
    messages = question.messages or ({"role": "user", "content": question.text},)
    said: dict[str, Any] = {
        "model": model,
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": settings.temperature,
    }
    form = settings.form and {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": json.loads(settings.form.schema)},
    }
    differing: dict[str, tuple[Any, Any]] = {
        "max_tokens": (settings.max_new_tokens, None),
        "top_p": (settings.top_p, 1.0),
        "top_k": (settings.top_k, 0),
        "min_p": (settings.min_p, 0.0),
        "seed": (settings.seed, None),
        "n": (settings.choices, 1),
        "stop": (list(settings.stop), []),
        "presence_penalty": (settings.bends.presence, 0.0),
        "frequency_penalty": (settings.bends.frequency, 0.0),
        "tools": (list(question.tools), []),
        "tool_choice": (_choice(question.calling), None),
        "parallel_tool_calls": (False if question.calling.is_single else None, None),
        "response_format": (form, None),
    }
    return said | {name: value for name, (value, usual) in differing.items() if value != usual}


def _check(question: Question) -> None:
    settings = question.settings
    for name, is_there in (
        ("prompt as token ids", bool(question.tokens)),
        ("logit_bias", bool(settings.bends.biases)),
        ("repeat_penalty", settings.bends.repeat != 1.0),
        ("top_logprobs", bool(settings.num_top)),
    ):
        if is_there:
            raise NotOffered(
                f"{name} is not done where the large model is on another server; leave it out"
            )


def _choice(calling: Calling) -> Any:
    """OpenAI's tool_choice."""
    if not calling.is_forced:
        return None
    named = {"type": "function", "function": {"name": calling.name}}
    return "required" if calling.name is None else named


async def _refused(response: httpx.Response) -> Refusal:
    """What a status other than 200 is here."""
    said = b""
    async for chunk in response.aiter_bytes():
        said += chunk
        if len(said) > MAX_ERROR_BYTES:
            break
    text = said[:300].decode("utf-8", "replace")
    told = f"the large model's server answered {response.status_code}: {text}"
    if response.status_code == 429:
        return Crowded(told)
    return BadQuestion(told) if response.status_code in (400, 404, 413, 422) else Broken(told)
