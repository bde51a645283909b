"""What every dialect is: routes that turn bodies into questions and what is told into the dialect's own bytes.

Parts: `Body` (how requests are read), `read`, `Style` (what one kind of answer looks like). Law: a dialect knows no
engine and no other dialect; unknown fields that do not change an answer are passed over, those that would are refused.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, ValidationError

from archipel.serve.question import BadQuestion, Ended, NotOffered, Refusal, Said, Token

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 200
"""Of lists and objects within one another; what is written deeper no part of this software reads without recursion."""
MAX_WHOLE = 2**53
Number = StrictFloat | Annotated[StrictInt, Field(ge=-MAX_WHOLE, le=MAX_WHOLE)]
"""JSON writes whole numbers as long as it likes, and a float does not take them all."""
_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Where half of a character may be named."""


class Body(BaseModel):
    """A request's JSON: types are strict where a wrong one would be guessed at, unknown fields are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


B = TypeVar("B", bound=Body)
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "n": (1,),
    "modalities": (["text"],),
    "thinking": ({"type": "disabled"},),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "typical_p": (1,),
    "tfs_z": (1,),
}
"""What some fields say where they change nothing; null, empty, zero and false change nothing in any."""


def read(form: type[B], data: bytes, refused: Iterable[str] = ()) -> B:
    """The body of a request.

    refused: fields that would change the answer and are not done here, unless they say what is so anyway.

    Raises:
        BadQuestion: no JSON object, or a field out of its bounds. NotOffered: one of `refused`.
    """
    try:
        found = json.loads(
            data.decode()
        )  # strictly: given bytes, the library lets halves of characters pass
    except (ValueError, RecursionError):
        raise BadQuestion(f"the body is no JSON: {data[:40]!r}") from None
    if not isinstance(found, dict):
        raise BadQuestion(f"the body is {type(found).__name__}; expected a JSON object")
    _check_depth(found)
    if _LONE.search(data):
        _check_characters(found)
    for name in refused:
        if found.get(name) not in (None, [], {}, "", 0, 0.0, False, *NEUTRAL.get(name, ())):
            raise NotOffered(f"{name} is not done here; leave it out", name)
    try:
        return form.model_validate(found)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise BadQuestion(f"{where or 'body'}: {fault['msg']}", where or None) from None


def _check_depth(found: Any) -> None:
    """Level by level, so that this takes no more than the body did."""
    level = [found]
    for _ in range(MAX_DEPTH):
        level = [
            each
            for one in level
            for each in (one.values() if isinstance(one, dict) else one)
            if isinstance(each, dict | list)
        ]
        if not level:
            return
    raise BadQuestion(f"the body is nested more than {MAX_DEPTH} deep; write it flatter")


def _check_characters(found: Any) -> None:
    """JSON may name halves of a character, which no tokenizer reads and no answer can repeat."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadQuestion(
            "the body names half of a surrogate pair (\\ud800 to \\udfff), which is no character; leave it out"
        ) from None


@dataclass
class Whole:
    """One choice, whole."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    ended: Ended | None = None


class Style(Protocol):
    """What one question's answer looks like in a dialect."""

    media: str
    """Type of its stream."""

    def begin(self) -> Iterable[bytes]:
        """Before the first token."""

    def told(self, told: Said | Ended) -> Iterable[bytes]:
        """As it comes."""

    def end(self, prompt: int, sampled: int) -> Iterable[bytes]:
        """After the last; prompt, sampled: tokens."""

    def failed(self, why: Refusal) -> Iterable[bytes]:
        """Where it breaks off."""

    def whole(self, choices: list[Whole], prompt: int, sampled: int) -> Mapping[str, Any]:
        """All of it at once."""


def text_of(token: Token) -> str:
    """What it writes, half a character as a mark."""
    return token.piece.decode("utf-8", "replace")


def logprobs_of(tokens: Iterable[Token]) -> list[dict[str, Any]]:
    """Each token with its log-probability, and with the likeliest in its place: alike in all dialects that tell it."""
    return [_row(each) | {"top_logprobs": list(map(_row, each.top))} for each in tokens]


def _row(token: Token) -> dict[str, Any]:
    return {"token": text_of(token), "logprob": token.logprob, "bytes": list(token.piece)}


def compact(value: Any) -> bytes:
    """JSON in one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def in_pieces(value: Mapping[str, Any], name: str) -> Iterator[bytes]:
    """The same of an object in which `name` is a list of much: each of the list is made and written by itself."""
    pieces, left = iter(value[name]), dict(value)
    del left[name]
    yield b"{%s:[" % compact(name)
    for place, piece in enumerate(pieces):
        yield (b"," if place else b"") + compact(piece)
    yield b"]" + (b"," if left else b"") + compact(left)[1:]


def event(value: Any, name: str | None = None) -> bytes:
    """A server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + compact(value) + b"\n\n"
