"""A lab in memory with nodes of an operator, its log-in's door over HTTP without a socket, and a browser's cookies."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount

from archipel.dashboard.sessions.challenges import Challenges
from archipel.dashboard.sessions.routes import LoginDoor, login_routes
from archipel.dashboard.sessions.sessions import Sessions
from archipel.identity import Identity, sign
from archipel.lab.lab import Lab
from archipel.lab.state import Node
from archipel.lab.views import node_view
from archipel.market.journal import wallet
from archipel.records.canonical import canonical_json
from archipel.records.documents import NodeView
from archipel.records.login import LOGIN_TYPE, LoggedIn, LoginSaid
from keyring import delegation
from people import Provider, identity
from world import World

BOSS, OTHER = identity("boss"), identity("other boss")
T = TypeVar("T")
ORIGIN = "http://lab.example"
OWN = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}


class LabLook:
    """What the log-in asks of a look, cut from the lab's own views."""

    def __init__(self, lab: Lab) -> None:
        self._state = lab.state
        self._asked_ms = lab.asked_ms
        self.now_ms = lab.clock_ms()
        self.size = self._state.size

    def node(self, did: str) -> NodeView | None:
        node = self._state.nodes.get(did)
        return None if node is None else self._view(node)

    def nodes(
        self, start: int, limit: int, by: str = "joined", operator: str | None = None
    ) -> Sequence[NodeView]:
        views = [self._view(each) for each in self._state.nodes.values()]
        own = [each for each in views if (each.operator or each.node) == operator]
        return own[start : start + limit]

    def _view(self, node: Node) -> NodeView:
        return node_view(self._state, node, self.now_ms, self._asked_ms)

    def joined(self, did: str) -> int | None:
        node = self._state.nodes.get(did)
        return None if node is None else node.joined_at_ms

    def operator(self, did: str) -> None:
        return None

    def audits(self, start: int, limit: int, run: str | None = None, operator: str | None = None):
        return ()


class LabLooks:
    """A source over a lab."""

    is_lab = True

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.lab = lab.identity.did

    def look(self) -> Any:
        return LabLook(self._lab)

    def entries(self, start: int, limit: int) -> Sequence[bytes]:
        return self._lab.log.read(start, limit)


class FirstPay:
    """The first entry that paid an account, by the answers that a world's ledger holds."""

    def __init__(self, entry: int, micro: int) -> None:
        self.first_entry, self.micro = entry, micro

    def first_pay(self, accounts: Sequence[str]) -> "FirstPay | None":
        return self if accounts == (wallet(BOSS.did),) else None


class Scene:
    """One lab, its door, and as many browsers as wanted."""

    def __init__(self, pays: Any = None) -> None:
        self.world = World()
        self.world.started(versions=8)
        self.node = self._joined("one", BOSS)
        self.foreign = self._joined("other", OTHER)
        self.alone = self.world.provider("alone", 40_000)
        self.chances = 0
        sessions = Sessions(Challenges(self.world.state.lab, b"k" * 32), self._chance)
        self.now_ms = self.world.now_ms
        self.sessions = sessions
        self.door = LoginDoor(sessions, LabLooks(self.world.lab), lambda: self.now_ms, pays)  # type: ignore[arg-type]
        self.app = Starlette(routes=[Mount("/pages", routes=login_routes(self.door))])

    def close(self) -> None:
        self.world.close()

    def _joined(self, name: str, boss: Identity) -> Provider:
        made = self.world.provider(name, 40_000, join=False)
        made.join(delegation=delegation(boss, made.did))
        return made

    def _chance(self) -> str:
        self.chances += 1
        return f"{self.chances:043d}"

    def browser(self, address: str = "10.0.0.1") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 1))
        return httpx.AsyncClient(transport=transport, base_url=ORIGIN)

    def signed(self, signer: Identity = BOSS, kind: str = LOGIN_TYPE, **lies: Any) -> bytes:
        asked = self.sessions.challenges.make(bytes([self.chances % 256]) * 16, self.now_ms)
        fields = {"lab": asked.lab, "challenge": asked.challenge, "until_ms": asked.until_ms}
        said = LoginSaid(**({"by": signer.did} | fields | lies))
        return sign(signer, canonical_json(said.model_dump(mode="json")), kind).to_json()

    def told(self, by: Identity = BOSS) -> LoggedIn:
        """A terminal's token and secret, without HTTP."""
        asked = self.sessions.challenges.make(self._chance()[-16:].encode(), self.now_ms)
        said = LoginSaid(
            lab=asked.lab, challenge=asked.challenge, until_ms=asked.until_ms, by=by.did
        )
        return self.sessions.log_in(said, self.now_ms)


async def post(
    browser: httpx.AsyncClient, path: str, body: Any, headers: dict[str, str] | None = None
) -> httpx.Response:
    """As a page of the lab sends it, unless told otherwise."""
    return await browser.post(
        f"/pages{path}", json=body, headers=OWN if headers is None else headers
    )


async def opened(scene: Scene, by: Identity = BOSS) -> tuple[httpx.AsyncClient, LoggedIn]:
    """A browser that is logged in, and what its terminal was told."""
    told, browser = scene.told(by), scene.browser()
    answer = await post(browser, "/login/token", {"secret": told.token})
    assert answer.status_code == 200, answer.text
    return browser, told


def run(story: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(story, 20))
