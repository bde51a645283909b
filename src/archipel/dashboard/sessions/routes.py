"""The log-in over HTTP, to be mounted under /pages. Law: nothing is decided here; see `sessions`, `requests` and `own`.

GET  /login            the page that a terminal's link opens    GET  /login/challenge   what is to be signed
POST /login            a signed challenge -> token and secret   POST /login/token       a token -> the cookie
POST /login/wishes     a terminal waits for clicks              POST /login/end         a terminal ends its session
POST /logout           a browser ends it                        GET  /me, /me.json      an operator's own page
POST /me/wish          a click
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from archipel.dashboard.chronicle.file import ChronicleUnusable
from archipel.dashboard.sessions import own, rendering
from archipel.dashboard.sessions.challenges import BadLogin, Challenges
from archipel.dashboard.sessions.rates import Rates
from archipel.dashboard.sessions.requests import (
    COOKIE,
    Unfit,
    address_of,
    body_of,
    from_own_page,
    read,
    read_login,
)
from archipel.dashboard.sessions.sessions import (
    SESSION_MS,
    NoSession,
    NotNow,
    Session,
    Sessions,
)
from archipel.dashboard.source import Source
from archipel.ledger.storage import LedgerError
from archipel.market.journal import wallet
from archipel.records.document import Document
from archipel.records.login import Polled, Presented, Wished, Wishes

logger = logging.getLogger("archipel.dashboard")

POLL_S = 25.0
PATH = "/pages"
PROBLEM = "https://archipel.invalid/problems/login-refused"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
STATUS: dict[type[Exception], int] = {BadLogin: 403, NoSession: 401, NotNow: 409}
Handler = Callable[[Request], Awaitable[Response]]


class _Stamped(BaseModel):
    """Of an entry of the lab's own ledger, when it was taken in."""

    model_config = ConfigDict(extra="ignore")

    at_ms: int


def sessions_of(lab: str) -> Sessions:
    """Those of one lab, with this process' own secret."""
    return Sessions(Challenges(lab, secrets.token_bytes(32)), lambda: secrets.token_urlsafe(32))


class LoginDoor:
    """Of one source of looks."""

    def __init__(
        self,
        sessions: Sessions,
        source: Source,
        now_ms: Callable[[], int],
        pays: own.Pays | None = None,
    ) -> None:
        """pays: what knows of first earnings."""
        self.sessions = sessions
        self._source = source
        self._now_ms = now_ms
        self._pays = pays
        self._rates = Rates()
        self._bells: dict[Session, asyncio.Event] = {}
        """Session -> what wakes its terminal."""

    def routes(self) -> list[Route]:
        """Relative to PATH."""
        taking: dict[str, Handler] = {
            "/login": self.log_in,
            "/login/token": self.redeem,
            "/login/wishes": self.attend,
            "/login/end": self.end,
            "/logout": self.log_out,
            "/me/wish": self.wish,
        }
        showing: dict[str, Handler] = {
            "/login": self.login_page,
            "/login/challenge": self.challenge,
            "/me": self.me_page,
            "/me.json": self.me_json,
        }
        return [
            *(Route(path, _answering(do), methods=["POST"]) for path, do in taking.items()),
            *(Route(path, _answering(do), methods=["GET"]) for path, do in showing.items()),
        ]

    async def login_page(self, request: Request) -> Response:
        """How to log in; its script takes the token behind `#`."""
        return HTMLResponse(self._render("login.html.j2", {"url": _origin(request)}))

    async def challenge(self, request: Request) -> Response:
        """Costs no memory, so it is not counted."""
        made = self.sessions.challenges.make(secrets.token_bytes(16), self._now_ms())
        return _json(made)

    async def log_in(self, request: Request) -> Response:
        """The only place where a signature is verified: bounded by address."""
        if not self._rates.take(address_of(request), self._now_ms()):
            raise Unfit(429, "too many log-ins from this address; try again in a minute")
        said = read_login(await body_of(request))
        look = self._source.look()
        if not await asyncio.to_thread(own.is_known, look, said.by):
            raise Unfit(403, f"no node of {said.by} is known here; let one join first")
        return _json(self.sessions.log_in(said, self._now_ms()))

    async def redeem(self, request: Request) -> Response:
        """Sets the cookie; from an own page alone, so that nobody logs another's browser in as somebody."""
        from_own_page(request)
        token = read(Presented, await body_of(request)).secret
        cookie = self.sessions.redeem(token, self._now_ms())
        answer = JSONResponse({"me": f"{PATH}/me"})
        answer.set_cookie(
            COOKIE,
            cookie,
            max_age=SESSION_MS // 1000,
            path=PATH,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    async def attend(self, request: Request) -> Response:
        """A terminal's long poll; its newer one ends an older."""
        polled = read(Polled, await body_of(request))
        session = self.sessions.of_secret(polled.secret, self._now_ms())
        wishes = self.sessions.attend(session, polled.after, polled.outcomes, self._now_ms())
        if not wishes:
            self._ring(session)
            bell = self._bells[session] = asyncio.Event()
            try:
                async with asyncio.timeout(POLL_S):
                    await bell.wait()
            except TimeoutError:
                pass
            finally:
                if self._bells.get(session) is bell:
                    del self._bells[session]
            session = self.sessions.of_secret(polled.secret, self._now_ms())
            wishes = self.sessions.attend(session, polled.after, (), self._now_ms())
        return _json(Wishes(wishes=wishes))

    async def end(self, request: Request) -> Response:
        """By its terminal."""
        secret = read(Presented, await body_of(request)).secret
        self._over(self.sessions.of_secret(secret, self._now_ms()))
        return JSONResponse({})

    async def log_out(self, request: Request) -> Response:
        """By its browser."""
        from_own_page(request)
        session = self._session(request)
        if session is not None:
            self._over(session)
        answer = JSONResponse({})
        answer.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="strict")
        return answer

    async def wish(self, request: Request) -> Response:
        """Only for nodes of whoever's session this is; that it is signed is the terminal's to decide."""
        from_own_page(request)
        session = self._known(request)
        wished = read(Wished, await body_of(request))
        look = self._source.look()
        if not await asyncio.to_thread(own.is_of, look, session.by, wished.node):
            raise Unfit(403, f"{wished.node} is no node of {session.by}")
        made = self.sessions.wish(session, wished.act, wished.node, self._now_ms())
        self._ring(session)
        return _json(made)

    async def me_page(self, request: Request) -> Response:
        """Whoever is not logged in is led to how that is done."""
        session = self._session(request)
        if session is None:
            return RedirectResponse(f"{PATH}/login", 303)
        facts = {"own": await self._own(session), "url": _origin(request)}
        return HTMLResponse(await asyncio.to_thread(self._render, "me.html.j2", facts))

    async def me_json(self, request: Request) -> Response:
        """The same as JSON."""
        return JSONResponse((await self._own(self._known(request))).facts())

    async def _own(self, session: Session) -> own.Own:
        def made() -> own.Own:
            look, is_lab, now_ms = self._source.look(), self._source.is_lab, self._now_ms()
            try:
                first = own.first_of(self._pays, session.by, self._stamp(session.by))
            except (ChronicleUnusable, LedgerError, OSError):
                page = own.own_page(look, session, None, is_lab, now_ms)
                return replace(page, first=own.UNREAD)
            return own.own_page(look, session, first, is_lab, now_ms)

        return await asyncio.to_thread(made)

    def _stamp(self, did: str) -> dict[int, int]:
        pay = None if self._pays is None else self._pays.first_pay((wallet(did),))
        if pay is None:
            return {}
        found = self._source.entries(pay.first_entry, 1)
        return {pay.first_entry: _Stamped.model_validate_json(found[0]).at_ms} if found else {}

    def _render(self, template: str, facts: dict[str, Any]) -> str:
        return rendering.rendered(template, self._source.lab, facts)

    def _session(self, request: Request) -> Session | None:
        return self.sessions.of_cookie(request.cookies.get(COOKIE), self._now_ms())

    def _known(self, request: Request) -> Session:
        session = self._session(request)
        if session is None:
            raise NoSession("nobody is logged in here; run `archipel operator login`")
        return session

    def _over(self, session: Session) -> None:
        self.sessions.end(session)
        self._ring(session)

    def _ring(self, session: Session) -> None:
        bell = self._bells.get(session)
        if bell is not None:
            bell.set()


def login_routes(door: LoginDoor) -> list[Route]:
    """To be mounted with the pages."""
    return door.routes()


def _answering(handle: Handler) -> Handler:
    """With the headers of every answer here, and refusals as problem documents (RFC 9457)."""

    async def answer(request: Request) -> Response:
        try:
            made = await handle(request)
        except (Unfit, BadLogin, NoSession, NotNow) as error:
            status = error.status if isinstance(error, Unfit) else STATUS[type(error)]
            told = {"type": PROBLEM, "title": "log-in", "status": status, "detail": str(error)}
            made = JSONResponse(told, status, media_type="application/problem+json")
        made.headers.update(HEADERS)
        return made

    return answer


def _json(document: Document) -> Response:
    return Response(document.model_dump_json(), media_type="application/json")


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}"
