"""What a browser's log-in says: a challenge, an operator's signed word on it, what was clicked, what came of that.

Law: closed and bounded; a session may read and wish. Nothing here is a statement: what is signed after a wish is one of
`records.membership`, by the operator's own terminal.
"""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.document import Document
from archipel.records.fields import Closed, Did, Millis

LOGIN_TYPE = "application/vnd.archipel.login.v1+json"
"""DSSE payload type of `LoginSaid`."""
MAX_LOGIN_BYTES = 4096
"""Of every body that a log-in sends."""
MAX_WISHES = 16
"""Of one session, that nobody took yet."""
MAX_OUTCOME_CHARACTERS = 300

Challenged = Annotated[str, Field(pattern=r"^[0-9a-f]{96}$")]
"""16 bytes that nobody guesses, and 32 by which the lab knows them again."""
Secret = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$")]
Number = Annotated[int, Field(ge=0, le=2**31)]
Act = Literal["pause", "resume", "retire"]
"""Of a node: no work for now; work again; its key speaks for nobody any more, for good."""


class Challenge(Document):
    """`login/challenge`: what an operator's key is to sign, and until when."""

    lab: Did
    challenge: Challenged
    until_ms: Millis


class LoginSaid(Closed):
    """An operator's word: it is I who opened a browser at this lab."""

    lab: Did
    challenge: Challenged
    until_ms: Millis
    by: Did


class LoggedIn(Document):
    """What a terminal is told: a token for the browser, once; and its own secret."""

    token: Secret
    secret: Secret


class Wished(Closed):
    """What was clicked in a page."""

    act: Act
    node: Did


class Wish(Document):
    """The same, as the terminal is told of it."""

    number: Number
    act: Act
    node: Did


class Outcome(Closed):
    """What came of a wish: signed and entered, or why not."""

    number: Number
    said: Annotated[str, Field(max_length=MAX_OUTCOME_CHARACTERS)]


class Polled(Closed):
    """A terminal waits for wishes: those up to `after` it knows."""

    secret: Secret
    after: Number
    outcomes: Annotated[tuple[Outcome, ...], Field(max_length=MAX_WISHES)] = ()


class Wishes(Document):
    """Those after that."""

    wishes: Annotated[tuple[Wish, ...], Field(max_length=MAX_WISHES)]


class Presented(Closed):
    """A token or a terminal's secret, by itself."""

    secret: Secret
