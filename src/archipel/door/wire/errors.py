"""What is told to whoever asked wrongly: which kind of refusal, which HTTP status, and what clients then do.

Parts: `Refused` (raised where it is noticed), `Told` (its response), `told`, `Failure` (the end of a future that was
acknowledged before).
Law: a client never asks for ever what will never be answered. The clients' own rules, read in their versions 0.16 to 0.38:
408, 409, 429 and 5xx are asked again for five minutes, 402 every five seconds for an hour; a 400 without a
content-length is taken for a broken connection and asked again; 410 of a future makes the client repeat the call that
made it; in a poll of a future, 400 is repeated three times and 429 ends older clients. All else raises at once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "malformed",
    "unknown_key",
    "exhausted",
    "forbidden",
    "not_found",
    "gone",
    "too_large",
    "impossible",
    "not_offered",
    "busy",
    "crowded",
    "rate",
    "unavailable",
    "broken",
]
Category = Literal["unknown", "server", "user"]
"""Whose fault a failed future is, in the clients' words."""

STATUSES: Mapping[Kind, int] = {
    "malformed": 400,  # bytes that cannot be read: BadRequestError
    "unknown_key": 401,  # AuthenticationError
    "exhausted": 402,  # a quota or a grant: clients pause, and ask again until it is filled
    "forbidden": 403,  # the key lacks the scope: PermissionDeniedError
    "not_found": 404,  # not there, or another's, which is told alike: NotFoundError
    "gone": 410,  # a future that expired, a session that ended
    "too_large": 413,
    "impossible": 422,  # it can be read and makes no sense: UnprocessableEntityError
    "not_offered": 422,  # it makes sense and is not done here
    "busy": 409,  # two calls that cannot both be, of which one passes soon; never what stays so, for it is repeated
    "crowded": 429,  # too much of this key waits: RateLimitError
    "rate": 429,
    "unavailable": 503,
    "broken": 500,
}
PASSING = frozenset({"exhausted", "busy", "crowded", "rate", "unavailable", "broken"})
"""Kinds that may be answered if the same is asked again later."""
CATEGORIES: Mapping[Kind, Category] = {
    kind: "server" if kind in {"busy", "unavailable", "broken"} else "user" for kind in STATUSES
}


class Refused(Exception):
    """It is not done; the text says what was got, what was expected and what to do."""

    def __init__(self, kind: Kind, sentence: str, retry_after_s: float | None = None) -> None:
        """retry_after_s: when it may be asked again, where that is known."""
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Told:
    """A response: always whole, so that its length is in its head."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = "application/json"


@dataclass(frozen=True)
class Failure:
    """How an acknowledged operation ended that was not done."""

    error: str
    """One sentence."""
    category: Category


def told(why: Refused, polling: bool = False) -> Told:
    """The response to whoever asked.

    polling: it was a poll of a future, where clients take some statuses otherwise.
    """
    status = STATUSES[why.kind]
    content: dict[str, Any] = {"detail": why.sentence, "kind": why.kind}
    if polling and status == 400:
        status = 422
    elif polling and status == 429:
        status = 408
        content |= {"type": "try_again", "queue_state": "paused_rate_limit"}
        content |= {"queue_state_reason": why.sentence}
    headers = {} if why.kind in PASSING else {"x-should-retry": "false"}
    if why.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(why.retry_after_s)))
    if status == 401:
        headers["www-authenticate"] = "X-API-Key"
    return Told(status, json.dumps(content, ensure_ascii=False).encode(), headers)


def failure(why: Refused) -> Failure:
    """The same, where the call was acknowledged before."""
    return Failure(why.sentence, CATEGORIES[why.kind])
