"""What the log-in's routes are sent: bounded bodies, cookies, and where a request comes from.

Law: a request that acts with a cookie comes from a page of this very address, by the browser's own word
(`Sec-Fetch-Site`, else `Origin`): another site's page cannot make a browser click here.
"""

import asyncio
from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from archipel.connections import neighbourhood
from archipel.identity import BadEnvelope, BadSignature, Envelope, IdentityError, verify
from archipel.records.canonical import NotCanonical, parse_canonical
from archipel.records.login import LOGIN_TYPE, MAX_LOGIN_BYTES, LoginSaid

BODY_LIMIT_S = 10.0
COOKIE = "archipel_session"

T = TypeVar("T", bound=BaseModel)


class Unfit(ValueError):
    """A request that is refused; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def body_of(request: Request) -> bytes:
    """All of it. Raises Unfit: it is larger than MAX_LOGIN_BYTES, or late."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_LIMIT_S):
            async for chunk in request.stream():
                if len(body) + len(chunk) > MAX_LOGIN_BYTES:
                    raise Unfit(413, f"the body is larger than {MAX_LOGIN_BYTES} bytes")
                body += chunk
    except TimeoutError:
        raise Unfit(408, f"the body was not here within {BODY_LIMIT_S:.0f} s") from None
    return bytes(body)


def read(kind: type[T], data: bytes) -> T:
    """One of the log-in's documents. Raises Unfit: it is none."""
    if len(data) > MAX_LOGIN_BYTES:
        raise Unfit(413, f"{len(data)} bytes; at most {MAX_LOGIN_BYTES}")
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "body"
        raise Unfit(400, f"expected {kind.__name__}: {where}: {fault['msg']}") from None


def read_login(data: bytes) -> LoginSaid:
    """What a key signed. Raises Unfit: no signed log-in, or by another key than it names."""
    if len(data) > MAX_LOGIN_BYTES:
        raise Unfit(413, f"{len(data)} bytes; at most {MAX_LOGIN_BYTES}")
    try:
        envelope = Envelope.from_json(data)
        signer = verify(envelope, LOGIN_TYPE)
        parse_canonical(envelope.payload)
    except (BadEnvelope, NotCanonical) as error:
        raise Unfit(400, f"expected a signed log-in: {error}") from None
    except (BadSignature, IdentityError) as error:
        raise Unfit(401, f"the log-in's signature does not hold: {error}") from None
    said = read(LoginSaid, envelope.payload)
    if said.by != signer:
        raise Unfit(401, f"the log-in names {said.by}, and {signer} signed it")
    return said


def address_of(request: Request) -> str:
    """Where it comes from, as far as the connection tells."""
    return neighbourhood(request.client.host) if request.client is not None else "nowhere"


def from_own_page(request: Request) -> None:
    """Raises Unfit: no page of this address sent it, or it is no JSON, which a foreign page's form cannot send."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Unfit(415, "expected a body of type application/json")
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site")
    is_own = origin is not None and _is_host(origin, request.headers.get("host", ""))
    if not is_own or site not in (None, "same-origin"):
        raise Unfit(403, "only this lab's own pages may ask for that; open /pages/me here")


def _is_host(origin: str, host: str) -> bool:
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False
