"""What a client asks of a served model, whatever dialect it spoke, and what it is told; the words between dialects and desk.

Parts: `Question` and its `Settings`; `Said`, `Ended` (what streams back); `Refusal` and its kinds, each with the HTTP
status that all dialects share. Law: nothing here knows a dialect or an engine.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

MAX_STOPS = 16
MAX_STOP_CHARS = 1000
"""Of one stop string: what finds them keeps a state for every byte."""
MAX_CHOICES = 64
"""Answers to one question."""
MAX_SCHEMA_CHARS = 65_536
MAX_BIASES = 1024
MAX_BIAS = 100.0
MAX_PENALTY = 2.0
MIN_REPEAT, MAX_REPEAT = 0.01, 10.0
MAX_RECENT = 2**31
MAX_TOP = 20
"""Likeliest tokens that are told of at one place."""
ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
"""The schema of whatever is a JSON object."""

Why = Literal["stop", "length", "tool_calls"]
"""It ended by itself or by a stop string; by its limit; by calling tools."""


class Refusal(Exception):
    """A question that is not answered; its text says what was got, what was expected and what to do."""

    status: ClassVar[int] = 400
    kind: ClassVar[str] = "invalid_request_error"
    code: ClassVar[str | None] = None

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        """The field that is meant."""


class BadQuestion(Refusal):
    """Malformed, or asking for what makes no sense."""


class NotOffered(Refusal):
    """A field that would change the answer, and that is not done here."""

    code = "unsupported_parameter"


class UnknownModel(Refusal):
    """No model of that name is served here."""

    status = 404
    code = "model_not_found"


class TooLong(Refusal):
    """More tokens than the model's context or the cache holds."""

    code = "context_length_exceeded"


class NoKey(Refusal):
    """The API key is missing or wrong."""

    status = 401
    kind = "authentication_error"
    code = "invalid_api_key"


class NotFromHere(Refusal):
    """Another site's page, or a name that this server does not go by."""

    status = 403
    kind = "permission_error"


class NotYours(Refusal):
    """Sums over what everybody asked, which are not for everybody."""

    status = 403
    kind = "permission_error"


class Crowded(Refusal):
    """More is waiting than may wait."""

    status = 429
    kind = "rate_limit_error"
    code = "rate_limit_exceeded"


class DeadEnd(Refusal):
    """The document that was asked for could not be finished."""

    status = 422
    code = "dead_end"


class TookTooLong(Refusal):
    """More time than one question has. Clients should not ask the same again by themselves."""

    status = 408
    kind = "timeout_error"
    code = "timeout"


class Broken(Refusal):
    """The model's own fault."""

    status = 500
    kind = "server_error"


class Short(Broken):
    """Of memory or descriptors, for now."""

    status = 503


@dataclass(frozen=True)
class Form:
    """A document that an answer is to be."""

    schema: str
    """Its JSON schema, as text."""

    @classmethod
    def of(cls, schema: Any, param: str) -> Self:
        """param: the field that says so.

        Raises:
            BadQuestion: no JSON object, or too large.
        """
        if not isinstance(schema, Mapping):
            raise BadQuestion(
                f"the schema is {type(schema).__name__}; expected a JSON object", param
            )
        text = json.dumps(schema)
        if len(text) > MAX_SCHEMA_CHARS:
            raise BadQuestion(
                f"a schema of {len(text)} characters; at most {MAX_SCHEMA_CHARS}", param
            )
        return cls(text)


@dataclass(frozen=True)
class Bends:
    """What is added to logits. By default nothing."""

    biases: Mapping[int, float] = field(default_factory=dict)
    """Token id -> what is added to its logit."""
    presence: float = 0.0
    """Taken from the logit of every token that was sampled."""
    frequency: float = 0.0
    """The same, for each time."""
    repeat: float = 1.0
    """What the logits of recent tokens, of prompt and answer, are divided by; multiplied where they are negative."""
    recent: int = 64
    """How many of them; -1: all."""

    @property
    def fault(self) -> str:
        """What is wrong with them, or nothing."""
        far = any(not abs(each) <= MAX_BIAS for each in self.biases.values())
        if len(self.biases) > MAX_BIASES or far:
            return f"logit_bias: expected at most {MAX_BIASES} tokens, each from -{MAX_BIAS:.0f} to {MAX_BIAS:.0f}"
        penalties = {"presence_penalty": self.presence, "frequency_penalty": self.frequency}
        for name, value in penalties.items():
            if not abs(value) <= MAX_PENALTY:
                return f"{name} is {value}; expected -{MAX_PENALTY:.0f} to {MAX_PENALTY:.0f}"
        if not MIN_REPEAT <= self.repeat <= MAX_REPEAT:
            return f"repeat_penalty is {self.repeat}; expected {MIN_REPEAT:g} to {MAX_REPEAT:.0f}"
        if not -1 <= self.recent <= MAX_RECENT:
            return f"repeat_last_n is {self.recent!r:.20}; expected -1 to {MAX_RECENT}"
        return ""


@dataclass(frozen=True)
class Settings:
    """How to sample."""

    max_new_tokens: int | None = None
    """None: as far as the context goes."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    """None: a fresh one for every question."""
    choices: int = 1
    stop: tuple[str, ...] = ()
    bends: Bends = Bends()
    form: Form | None = None
    """None: the answer is any text."""
    num_top: int = 0
    """Likeliest tokens to tell of at every place of the answer."""


@dataclass(frozen=True)
class Calling:
    """How tools may be called."""

    is_forced: bool = False
    """The answer is a call."""
    name: str | None = None
    """Of this tool; None: of any."""
    is_single: bool = False
    """At most one."""
    is_several: bool = False
    """Where a grammar holds the answer to a call, others may follow it: weak models otherwise do not come to an end."""


@dataclass(frozen=True)
class Question:
    """One request."""

    model: str
    settings: Settings
    messages: tuple[Mapping[str, Any], ...] = ()
    """Turns, as chat templates are given them; empty: `text` is gone on with."""
    text: str = ""
    tokens: tuple[int, ...] = ()
    """Instead of a text: ids of this model's tokens."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """JSON schemas of functions that the model may call."""
    calling: Calling = Calling()
    draft: str = ""
    """A guess at the answer, another model's perhaps: where it is right the answer comes sooner, and it is never another."""


@dataclass(frozen=True)
class Token:
    """One sampled token."""

    id: int
    piece: bytes
    """What it writes; half a character, perhaps."""
    logprob: float
    """Nats."""
    top: "tuple[Token, ...]" = ()
    """The likeliest at its place, where they were asked for; the first is the likeliest."""


@dataclass(frozen=True)
class Call:
    """A tool that the model calls; nobody has checked that it exists."""

    name: str
    arguments: str
    """A JSON object, as text."""


@dataclass(frozen=True)
class Said:
    """A choice went on."""

    choice: int
    text: str
    """Whole characters only; empty where a token did not end one."""
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True)
class Ended:
    """A choice is whole."""

    choice: int
    why: Why
    num_tokens: int
    calls: tuple[Call, ...] = field(default=())
