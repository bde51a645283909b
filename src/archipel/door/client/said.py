"""What a door answers, read within bounds: an answer that cannot be read is the door's fault, and said to be."""

import math
from typing import Annotated, Any, TypeVar

from pydantic import Field

from archipel.door.wire import messages
from archipel.door.wire.errors import Refused
from archipel.door.wire.reading import Body, Id, Text, read

MAX_MODELS = 10_000
MAX_FILES = 64
MAX_URL_CHARACTERS = 2048
LOSS = "loss:sum"

Url = Annotated[str, Field(max_length=MAX_URL_CHARACTERS)]


class BadAnswer(Exception):
    """Not what this protocol says there."""


class ModelRow(Body):
    """One base that is offered."""

    model_name: Text
    max_context_length: Annotated[int, Field(ge=1)]


class Capabilities(Body):
    supported_models: Annotated[tuple[ModelRow, ...], Field(min_length=1, max_length=MAX_MODELS)]


class SessionMade(Body):
    session_id: Id


class Promise(Body):
    request_id: Id


class Ended(Body):
    """A future's end that is told in JSON; what is missing is None."""

    error: Text | None = None
    category: Text | None = None
    model_id: Id | None = None
    path: Text | None = None
    metrics: Annotated[dict[str, float], Field(max_length=64)] | None = None


class FileUrls(Body):
    urls: Annotated[dict[str, Url], Field(max_length=MAX_FILES)]


class Fault(Body):
    """Why something was refused."""

    detail: Text


B = TypeVar("B", bound=Body)


def said_as(form: type[B], body: bytes) -> B:
    """Raises BadAnswer."""
    try:
        return read(form, body)
    except Refused as error:
        raise BadAnswer(f"the door answers {error.sentence}") from None


def fault_of(status: int, body: bytes) -> str:
    """The door's own sentence, or what little is known."""
    try:
        return read(Fault, body).detail
    except Refused:
        return f"status {status} without a sentence"


def loss_of(body: bytes) -> float:
    """The sum that a forward_backward came to. Raises BadAnswer."""
    try:
        said: Any = messages.parse("ForwardBackwardOutput", body)
    except Refused as error:
        raise BadAnswer(f"the door answers {error.sentence}") from None
    value = said.metrics.get(LOSS, math.nan)
    if not math.isfinite(value):
        raise BadAnswer(f"the door answers a forward_backward without a finite {LOSS}")
    return float(value)
