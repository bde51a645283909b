"""Readers of what terminals and browsers send to log in, and of what a lab answers."""

from functools import partial

from archipel.dashboard.sessions.requests import Unfit, read, read_login
from archipel.identity import sign
from archipel.records.canonical import canonical_json
from archipel.records.document import BadDocument, read_document
from archipel.records.login import (
    LOGIN_TYPE,
    Challenge,
    LoggedIn,
    LoginSaid,
    Outcome,
    Polled,
    Presented,
    Wish,
    Wished,
    Wishes,
)
from fuzz.reading import Reader
from people import identity

BOSS = identity("boss")
SECRET = "s" * 43
SAID = LoginSaid(lab=BOSS.did, challenge="0f" * 48, until_ms=9, by=BOSS.did)
SENT = (
    Wished(act="retire", node=BOSS.did),
    Presented(secret=SECRET),
    Polled(secret=SECRET, after=2, outcomes=(Outcome(number=1, said="entry 7"),)),
)
ANSWERED = (
    Challenge(lab=BOSS.did, challenge="0f" * 48, until_ms=9),
    LoggedIn(token=SECRET, secret=SECRET),
    Wishes(wishes=(Wish(number=1, act="pause", node=BOSS.did),)),
)


def readers() -> dict[str, Reader]:
    """One for each body."""
    sealed = sign(BOSS, canonical_json(SAID.model_dump(mode="json")), LOGIN_TYPE).to_json()
    sent = {
        f"log-in: {type(each).__name__}": Reader(
            partial(read, type(each)), (each.model_dump_json().encode(),), (Unfit,)
        )
        for each in SENT
    }
    answered = {
        f"log-in: {type(each).__name__}": Reader(
            partial(read_document, type(each)), (each.model_dump_json().encode(),), (BadDocument,)
        )
        for each in ANSWERED
    }
    return {"signed log-ins": Reader(read_login, (sealed,), (Unfit,))} | sent | answered
