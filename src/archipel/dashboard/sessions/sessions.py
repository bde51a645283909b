"""Who is logged in, and what was clicked: in memory, bounded, under hashes. The clock and chance are arguments.

A session goes: TOLD (the terminal has a token for the browser) -> OPEN (the token was changed for a cookie, once) ->
over (12 hours, the terminal's or the browser's word, or as its key's oldest of too many).
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

from archipel.dashboard.sessions.challenges import BadLogin, Challenges
from archipel.records.login import MAX_WISHES, Act, LoggedIn, LoginSaid, Outcome, Wish

SESSION_MS = 12 * 3_600_000
TOKEN_MS = 60_000
MAX_SESSIONS = 2048
MAX_PER_KEY = 8
ATTENDED_MS = 60_000
"""A terminal that asked for wishes so lately signs them."""

Chance = Callable[[], str]
"""43 characters that nobody guesses."""


class NoSession(ValueError):
    """No such token, cookie or secret; the message says what to do."""


class NotNow(ValueError):
    """A wish that cannot be taken; the message says why."""


@dataclass(eq=False)
class Session:
    """One browser's."""

    by: str
    """Whose key vouched for it."""
    secret: str
    """Hash of the terminal's."""
    token: str | None
    """Hash of the browser's way in; None: it was used."""
    began_ms: int
    cookie: str | None = None
    """Hash."""
    attended_ms: int | None = None
    """When its terminal asked for wishes last."""
    number: int = 0
    """Of its newest wish."""
    wishes: list[Wish] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    """Of the newest wishes."""

    def is_attended(self, now_ms: int) -> bool:
        """Whether a terminal signs what is wished."""
        return self.attended_ms is not None and now_ms - self.attended_ms < ATTENDED_MS


class Sessions:
    """Of one lab, while its process lasts."""

    def __init__(self, challenges: Challenges, chance: Chance) -> None:
        self.challenges = challenges
        self._chance = chance
        self._all: list[Session] = []
        """In the order of their beginning."""

    def log_in(self, said: LoginSaid, now_ms: int) -> LoggedIn:
        """What a key whose signature holds is given.

        Raises:
            BadLogin: its challenge is none of this lab's, over or used; or there is no room.
        """
        if said.lab != self.challenges.lab:
            raise BadLogin(f"this log-in is for lab {said.lab}, this is {self.challenges.lab}")
        self.challenges.answer(said.challenge, said.until_ms, now_ms)
        self._forget(now_ms)
        own = [each for each in self._all if each.by == said.by]
        if len(own) >= MAX_PER_KEY:
            self._all.remove(own[0])
        if len(self._all) >= MAX_SESSIONS:
            raise BadLogin(f"{MAX_SESSIONS} browsers are logged in here already; try again later")
        told = LoggedIn(token=self._chance(), secret=self._chance())
        self._all.append(Session(said.by, _hash(told.secret), _hash(told.token), now_ms))
        return told

    def redeem(self, token: str, now_ms: int) -> str:
        """A cookie for a token. Raises NoSession: it was used, is over, or is none."""
        self._forget(now_ms)
        found = self._named("token", token)
        if found is None or now_ms - found.began_ms >= TOKEN_MS:
            raise NoSession(
                "this link was used before or is older than a minute; run `archipel operator login` again"
            )
        cookie = self._chance()
        found.token, found.cookie = None, _hash(cookie)
        return cookie

    def of_cookie(self, cookie: str | None, now_ms: int) -> Session | None:
        """The session of a browser; None: it has none."""
        self._forget(now_ms)
        return None if not cookie else self._named("cookie", cookie)

    def who(self, cookie: str | None, now_ms: int) -> str | None:
        """Whose browser this is; None: nobody's that is known."""
        found = self.of_cookie(cookie, now_ms)
        return None if found is None else found.by

    def of_secret(self, secret: str, now_ms: int) -> Session:
        """The session of a terminal. Raises NoSession: there is none."""
        self._forget(now_ms)
        found = self._named("secret", secret)
        if found is None:
            raise NoSession("this session is over; run `archipel operator login` again")
        return found

    def wish(self, session: Session, act: Act, node: str, now_ms: int) -> Wish:
        """Take note of a click. Raises NotNow: no terminal would sign it, or too many wait already."""
        if not session.is_attended(now_ms):
            raise NotNow(
                "no terminal waits to sign this; run `archipel operator login` and leave it open"
            )
        if len(session.wishes) >= MAX_WISHES:
            raise NotNow(f"{MAX_WISHES} clicks wait for the terminal already; look at it first")
        session.number += 1
        made = Wish(number=session.number, act=act, node=node)
        session.wishes.append(made)
        return made

    def attend(
        self, session: Session, after: int, outcomes: tuple[Outcome, ...], now_ms: int
    ) -> tuple[Wish, ...]:
        """A terminal knows the wishes up to `after`, and says what came of some: those that it does not know."""
        session.attended_ms = now_ms
        session.wishes = [each for each in session.wishes if each.number > after]
        session.outcomes = [*session.outcomes, *outcomes][-MAX_WISHES:]
        return tuple(session.wishes)

    def end(self, session: Session) -> None:
        """It is over."""
        if session in self._all:
            self._all.remove(session)

    def __len__(self) -> int:
        return len(self._all)

    def _forget(self, now_ms: int) -> None:
        """Those whose time is over, and those whose token nobody used in time."""
        self._all = [
            each
            for each in self._all
            if now_ms - each.began_ms < (SESSION_MS if each.token is None else TOKEN_MS)
        ]

    def _named(self, name: str, value: str) -> Session | None:
        """All are compared, each in constant time: how long it takes says nothing of what matched."""
        wanted, found = _hash(value), None
        for each in self._all:
            kept = getattr(each, name)
            if kept is not None and hmac.compare_digest(kept, wanted):
                found = each
        return found


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
