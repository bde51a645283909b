"""What an HTTP answer means: a lab that may come back, or its considered no."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx

from archipel.node.sealed import NotBelieved

CONNECT_LIMIT_S = 10.0
READ_LIMIT_S = 60.0
"""Silence on a connection that lasts longer counts as unreachable."""
ANSWER_LIMIT_S = 120.0
"""A document that drips for longer counts as unreachable, too."""
MAX_JSON_BYTES = 64 * 1024 * 1024
"""No document of a lab is larger."""
TROUBLE = frozenset({429, 502, 503, 504, 507})
"""Statuses that may pass: too many at once, a gateway without its lab, a full disk."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one whole answer."""

    limit_s: float | None = ANSWER_LIMIT_S
    """None: as long as it takes."""
    max_bytes: int = MAX_JSON_BYTES


DOCUMENT = Bounds()
NO_HURRY = Bounds(limit_s=None)


class LabUnreachable(Exception):
    """No answer: the network, or the lab is down. Trying again later may help."""


class LabRefused(Exception):
    """The lab's answer is no; trying the same again will not help."""

    def __init__(self, problem: str, detail: str, status: int) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem = problem
        self.detail = detail
        self.status = status


async def bounded_body(answer: httpx.Response, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise LabRefused("oversized-answer", f"more than {max_bytes} bytes", 200)
    return bytes(body)


def refusal(status: int, body: bytes, url: str) -> Exception:
    """A lab in trouble may recover; everything else is a considered no."""
    try:
        problem = json.loads(body)
        kind, detail = str(problem["type"]).rsplit("/", 1)[-1], str(problem["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        if status >= 500:
            return LabUnreachable(f"status {status} from {url}")
        return LabRefused("unexpected-answer", f"status {status}", status)
    if status in TROUBLE:
        return LabUnreachable(f"{kind}: {detail}")
    return LabRefused(kind, detail, status)


def believed(check: Callable[[], T]) -> T:
    """What `check` returns.

    Raises:
        LabRefused: what the lab showed does not hold; the problem names the document.
    """
    try:
        return check()
    except NotBelieved as error:
        raise LabRefused(error.problem, str(error), 200) from None


def given_up(error: Exception) -> Exception:
    """Bytes that do not hash to their name time after time are no accident of the network."""
    if isinstance(error, LabUnreachable):
        return error
    return LabRefused("wrong-digest", str(error), 200)
