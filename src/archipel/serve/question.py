"""What a client asks of a served model, whatever dialect it spoke, and what it is told; the words between dialects and desk.

Parts: `Question` and its `Settings`; `Said`, `Ended` (what streams back); `Refusal` and its kinds, each with the HTTP
status that all dialects share. Law: nothing here knows a dialect or an engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

MAX_STOPS = 16
MAX_CHOICES = 64
"""Answers to one question."""

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


class Crowded(Refusal):
    """More is waiting than may wait."""

    status = 429
    kind = "rate_limit_error"
    code = "rate_limit_exceeded"


class Broken(Refusal):
    """The model's own fault."""

    status = 500
    kind = "server_error"


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


@dataclass(frozen=True)
class Question:
    """One request."""

    model: str
    settings: Settings
    messages: tuple[Mapping[str, Any], ...] = ()
    """Turns, as chat templates are given them; empty: `text` is gone on with."""
    text: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()
    """JSON schemas of functions that the model may call."""


@dataclass(frozen=True)
class Token:
    """One sampled token."""

    id: int
    piece: bytes
    """What it writes; half a character, perhaps."""
    logprob: float
    """Nats."""


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
