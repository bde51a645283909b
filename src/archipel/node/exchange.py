"""What an HTTP answer means: a lab that may come back, or its considered no."""

import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import httpx

from archipel.node.sealed import NotBelieved
from archipel.records.fields import Fault

CONNECT_LIMIT_S = 10.0
READ_LIMIT_S = 60.0
"""Silence on a connection that lasts longer counts as unreachable."""
ANSWER_LIMIT_S = 120.0
"""A document that drips for longer counts as unreachable, too."""
MAX_JSON_BYTES = 64 * 1024 * 1024
"""No document of a lab is larger."""
NO_COMPRESSION = {"Accept-Encoding": "identity"}
"""Sizes are bounded as they travel; nothing swells on arrival."""
NO_ANSWER_FROM = 300
"""Statuses from here on carry no document."""
TROUBLE = frozenset({429, 502, 503, 504, 507})
"""Statuses that may pass: too many at once, a gateway without its lab, a full disk."""

NOT_LEADING = "not-leading"
"""The problem of a lab that follows another one."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one whole answer."""

    limit_s: float | None = ANSWER_LIMIT_S
    """None: as long as it takes."""
    max_bytes: int = MAX_JSON_BYTES


DOCUMENT = Bounds()
NO_HURRY = Bounds(limit_s=None)


@cache
def authorities() -> ssl.SSLContext:
    """Whose certificates are believed; read once, for reading them takes longer than most requests."""
    return httpx.create_ssl_context(trust_env=False)


def believe(authority: Path) -> None:
    """From now on this process believes certificates of this authority too (PEM), in whatever it asks of a lab.

    Raises:
        OSError: the file cannot be read, or holds no certificate.
    """
    try:
        authorities().load_verify_locations(authority)
    except ssl.SSLError as error:
        raise OSError(
            f"{authority} holds no certificate ({error.reason or 'no PEM'}); expected an authority's, in PEM"
        ) from None


def open_client(url: str) -> httpx.AsyncClient:
    """Connections to the lab at this address, within the bounds above."""
    limits = httpx.Timeout(READ_LIMIT_S, connect=CONNECT_LIMIT_S)
    return httpx.AsyncClient(
        base_url=url,
        timeout=limits,
        trust_env=False,
        headers=NO_COMPRESSION,
        verify=authorities(),
    )


class LabUnreachable(Exception):
    """No answer: the network, or the lab is down. Trying again later may help."""


class NotHeard(LabUnreachable):
    """No lab took the request in: nobody listens there, or who does follows another lab. It may be sent elsewhere."""


class LabRefused(Exception):
    """The lab's answer is no; trying the same again will not help."""

    def __init__(self, problem: str, detail: str, status: int) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem = problem
        self.detail = detail
        self.status = status

    @property
    def is_no_labs(self) -> bool:
        """Something answers that is no lab, or no lab's door."""
        return self.problem in ("unexpected-answer", "http-error")

    @property
    def calls_for_joining(self) -> bool:
        """The lab does not know this node, or no more as it was."""
        return self.problem in ("not-joined", "wrong-lab", "replayed-record")

    @property
    def fault(self) -> Fault | None:
        """Whose it is that a lease comes back for this; None: nobody's, the node joins anew."""
        return None if self.calls_for_joining else "work"

    @property
    def bars_from_joining(self) -> bool:
        """Joining again would be refused again."""
        return self.problem in ("not-allowed", "malformed-record", "bad-signature")

    @property
    def may_be_of_the_wire(self) -> bool:
        """What the lab says it got may not be what was sent."""
        return self.problem in ("malformed-record", "bad-signature")


def unreachable(url: str, error: Exception, limit_s: float | None = None) -> LabUnreachable:
    """No answer from `url`, or no whole one in `limit_s`; why, in words that people know."""
    if isinstance(error, TimeoutError):
        return LabUnreachable(f"{url}: no whole answer in {limit_s or 0:.0f} s")
    kind = (
        NotHeard if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else LabUnreachable
    )
    return kind(f"{url}: {_reason(error)}")


def _reason(error: BaseException) -> str:
    """The words of the innermost error; libraries wrap it in others that say less."""
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {CONNECT_LIMIT_S:.0f} s"
    if isinstance(error, httpx.TimeoutException):
        return f"silent for {READ_LIMIT_S:.0f} s"
    if isinstance(error, httpx.RemoteProtocolError) and "disconnected" in str(error):
        return "it broke off the connection"
    if isinstance(error, httpx.RemoteProtocolError):
        return f"what answers there does not speak HTTP as expected ({_plain(error)})"
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ssl.SSLCertVerificationError):
            return f"its TLS certificate does not hold: {inner.verify_message}"
        if isinstance(inner, ssl.SSLError):
            return f"no TLS there ({_plain(inner)}); is it http:// instead?"
        error, inner = inner, inner.__cause__ or inner.__context__
    return _plain(error)


def _plain(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    text = str(getattr(error, "strerror", None) or error).strip().rstrip(".")
    return text or type(error).__name__


async def bounded_body(answer: httpx.Response, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise LabRefused("oversized-answer", f"more than {max_bytes} bytes", 200)
    return bytes(body)


def refusal(answer: httpx.Response, body: bytes, url: str) -> Exception:
    """A lab in trouble may recover; everything else is a considered no."""
    status = answer.status_code
    if answer.is_redirect:
        return _moved(answer, url)
    try:
        problem = json.loads(body)
        kind, detail = str(problem["type"]).rsplit("/", 1)[-1], str(problem["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        if status >= 500:
            return LabUnreachable(f"status {status} from {url}")
        told = f"what answers at {url} is no lab (status {status})"
        return LabRefused("unexpected-answer", told, status)
    if kind == NOT_LEADING and status in TROUBLE:
        return NotHeard(f"{url}: {detail}")
    if status in TROUBLE:
        return LabUnreachable(f"{kind}: {detail}")
    if kind == "http-error":
        detail = f"{detail} at {url}; is this the lab's address?"
    return LabRefused(kind, detail, status)


def _moved(answer: httpx.Response, url: str) -> LabUnreachable:
    """Another address in answer: a proxy, or a network that wants a login first; nobody follows it."""
    target = answer.headers.get("location", "elsewhere")
    return LabUnreachable(
        f"{url} sends us to {target!a:.200} (status {answer.status_code}), where nobody is followed; "
        "if the lab is there, give that address"
    )


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
