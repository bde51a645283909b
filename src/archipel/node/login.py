"""An operator's terminal at a lab's pages: it vouches for a browser, hears what is clicked there, and signs it, or not.

Law: what is signed is the log-in and, of the wishes, `node.paused`, `node.resumed` and `key.revoked` alone; the lab may
invent a wish, so whoever calls shows each before it is signed.
"""

from archipel.identity import sign
from archipel.node.client import JSON, LabClient
from archipel.node.exchange import READ_LIMIT_S, Bounds, LabRefused
from archipel.records.canonical import canonical_json
from archipel.records.document import BadDocument, read_document
from archipel.records.documents import Receipt
from archipel.records.login import (
    LOGIN_TYPE,
    Challenge,
    LoggedIn,
    LoginSaid,
    Outcome,
    Polled,
    Presented,
    Wish,
    Wishes,
)
from archipel.records.membership import KeyRevoked, NodePaused, NodeResumed

POLL_S = 25.0
"""The lab holds its answer back so long."""
REASON = "its operator clicked it"
"""For the ledger."""
OVER = 401
NO_PAGES = (404, 405)


class Terminal(LabClient):
    """One operator's, at one lab."""

    told: LoggedIn | None = None
    after = 0
    """The newest wish that is known here."""

    async def log_in(self) -> LoggedIn:
        """Vouch for a browser.

        Raises:
            LabUnreachable, LabRefused: from the lab; also when it has no pages, or shows another lab's challenge.
        """
        await self.greet()
        try:
            asked = await self.read(Challenge, "/pages/login/challenge")
        except LabRefused as error:
            if error.status in NO_PAGES:
                raise LabRefused(
                    "no-pages", f"{self.url} shows no pages to log in at", 404
                ) from None
            raise
        if asked.lab != self.lab:
            raise LabRefused(
                "wrong-lab", f"the challenge is of lab {asked.lab}, and this is {self.lab}", 200
            )
        said = LoginSaid(
            lab=asked.lab, challenge=asked.challenge, until_ms=asked.until_ms, by=self.identity.did
        )
        payload = canonical_json(said.model_dump(mode="json"))
        sealed = sign(self.identity, payload, LOGIN_TYPE).to_json()
        data = await self._exchange("POST", "/pages/login", content=sealed, headers=JSON)
        try:
            self.told = read_document(LoggedIn, data)
        except BadDocument as error:
            raise LabRefused("unexpected-answer", f"/pages/login: {error}", 200) from None
        return self.told

    def link(self) -> str:
        """What opens the browser's page, once."""
        return f"{self.url}/pages/login#{self._known().token}"

    async def wishes(self, outcomes: tuple[Outcome, ...]) -> tuple[Wish, ...]:
        """Wait for clicks; outcomes: what came of those before. Empty: none came for a while.

        Raises:
            LabUnreachable, LabRefused: from the lab; with status OVER: the session has ended.
        """
        polled = Polled(secret=self._known().secret, after=self.after, outcomes=outcomes)
        limits = Bounds(limit_s=POLL_S + READ_LIMIT_S)
        data = await self._exchange(
            "POST",
            "/pages/login/wishes",
            limits,
            content=polled.model_dump_json().encode(),
            headers=JSON,
            timeout=POLL_S + READ_LIMIT_S,
        )
        try:
            found = read_document(Wishes, data).wishes
        except BadDocument as error:
            raise LabRefused("unexpected-answer", f"/pages/login/wishes: {error}", 200) from None
        fresh = tuple(each for each in found if each.number > self.after)
        self.after = max((each.number for each in fresh), default=self.after)
        return fresh

    async def sign_wish(self, wish: Wish) -> Receipt:
        """Say it, in this operator's name. Raises LabUnreachable, LabRefused."""
        match wish.act:
            case "pause":
                return await self.submit(NodePaused, node=wish.node, reason=REASON)
            case "resume":
                return await self.submit(NodeResumed, node=wish.node)
            case "retire":
                return await self.submit(KeyRevoked, node=wish.node, reason=REASON)

    async def end(self) -> None:
        """The browser is logged out."""
        body = Presented(secret=self._known().secret).model_dump_json().encode()
        await self._exchange("POST", "/pages/login/end", content=body, headers=JSON)

    def _known(self) -> LoggedIn:
        if self.told is None:
            raise RuntimeError("log in before that")
        return self.told
