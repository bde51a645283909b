"""A lab that follows: another one writes to the ledger that they share, and this one is ready to.

Parts: `Follower` (looks who leads, folds what the leader writes, takes its place), `follower_app` (its door), `FollowerServer`.
Law: a follower writes nothing; whoever asks it for anything is told who leads and to ask there, or again.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from archipel.connections import Connections, Server, guarded, room_for_connections
from archipel.lab import refusals
from archipel.lab.api import problem
from archipel.lab.background import background
from archipel.lab.certificate import Certificate, keep_up
from archipel.lab.metrics import leader_text
from archipel.lab.recovery import Blobs, recover
from archipel.lab.state import LabState
from archipel.ledger.growing import GrowingLog
from archipel.ledger.leadership import Leader, Watch
from archipel.ledger.log import Log
from archipel.ledger.storage import LedgerInUse, LedgerMissing, LedgerUnavailable, Term
from archipel.ledger.tree_head import TreeHead
from archipel.records.leader_document import LeaderFacts

logger = logging.getLogger("archipel.lab")

LOOK_S = 0.5
"""Between two looks whether somebody leads."""
GROW_S = 1.0
"""Between two looks at what the leader wrote."""
GRACEFUL_S = 1
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Follower:
    """Of the lab `did`; see the module's text."""

    def __init__(
        self, did: str, watch: Watch, log: GrowingLog, blobs: Blobs, take: Callable[[], Log]
    ) -> None:
        """log: what the leader writes; blobs: where snapshots lie.

        take: opens the log for writing. It raises LedgerInUse while somebody leads.
        """
        self._did, self._watch, self._growing = did, watch, log
        self._blobs, self._take = blobs, take
        self.leader = Leader(Term(0), is_here=True)
        """As it was seen last."""
        self.log: Log | None = None
        """Once this lab leads."""
        self.failure: BaseException | None = None
        """Why it can neither follow nor lead."""
        self._warm: LabState | None = None
        self._head: TreeHead | None = None
        """Covers it."""
        self._warned: dict[str, str] = {}
        """What does not go on now -> why, as the log says already."""

    @property
    def is_over(self) -> bool:
        """It leads, or cannot go on."""
        return self.log is not None or self.failure is not None

    def warm(self) -> LabState | None:
        """The state so far, if the log that this lab leads holds the head that covers it."""
        if self.log is None or self._warm is None or self._head is None:
            return None
        stored = self.log.heads(self._head.size - 1, 1)
        if not stored or stored[0].note != self._head.note:
            logger.warning("what was followed is not what is stored; it is folded anew")
            return None
        return self._warm

    async def go_on(self) -> None:
        """Until this lab leads."""
        growing = asyncio.create_task(self._grow())
        try:
            while self.log is None:
                if growing.done():
                    growing.result()
                await self._look()
                await asyncio.sleep(0 if self.log else LOOK_S)
        finally:
            growing.cancel()  # what is folded just now is folded to its end
            with contextlib.suppress(asyncio.CancelledError):
                await growing
            self._watch.close()
            self._growing.close()

    def fail(self, error: BaseException) -> None:
        """It can go on no more."""
        self.failure = self.failure or error

    async def _look(self) -> None:
        try:
            self.leader = await asyncio.to_thread(self._watch.look)
            if not self.leader.is_here:
                self.log = await asyncio.to_thread(self._take)
        except LedgerInUse:  # somebody was faster
            return
        except LedgerUnavailable as error:
            self._warn("cannot see who leads", error)
        else:
            self._warned.pop("cannot see who leads", None)

    def _warn(self, what: str, error: LedgerUnavailable) -> None:
        """Once for each reason: a database may be away for days, and is asked twice a second."""
        if self._warned.get(what) != str(error):
            self._warned[what] = str(error)
            logger.warning(what, extra={"reason": str(error)})

    async def _grow(self) -> None:
        while True:
            with contextlib.suppress(LedgerMissing):  # its leader founds it just now
                folding = asyncio.ensure_future(asyncio.to_thread(self._fold))
                try:
                    await asyncio.shield(folding)
                except asyncio.CancelledError:
                    await folding
                    raise
                except LedgerUnavailable as error:
                    self._warn("cannot follow", error)
                else:
                    self._warned.pop("cannot follow", None)
            await asyncio.sleep(GROW_S)

    def _fold(self) -> None:
        head = self._growing.head()
        if self._head is None or head.size > self._head.size:
            self._warm = recover(self._did, self._growing, self._blobs, self._warm)
            self._head = head


def follower_app(follower: Follower) -> Starlette:
    """What a follower answers: who leads, that it is no use to a balancer, and no to all else."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with background(follower.go_on(), follower.fail):
            yield

    def leads() -> str:
        term = follower.leader.term
        return f"the lab at {term.place} leads" if term.place else "another lab leads"

    async def leader(_: Request) -> Response:
        facts = LeaderFacts(
            leads=False, term=follower.leader.term.number, place=follower.leader.term.place
        )
        return JSONResponse(facts.model_dump())

    async def health(_: Request) -> Response:
        return PlainTextResponse(f"this lab follows: {leads()}\n", status_code=503)

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(leader_text(follower.leader.term, leads=False))

    async def no(_: Request) -> Response:
        refused = refusals.NotLeading(f"this lab follows, and {leads()}; ask there, or here again")
        return problem(refused.problem, refused.status, str(refused), dict(refused.headers))

    routes = [
        Route("/leader", leader),
        Route("/healthz", health),
        Route("/metrics", metrics),
        Route("/{path:path}", no, methods=METHODS),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


class FollowerServer(Server):
    """Ends once its lab leads, or cannot go on."""

    def __init__(
        self,
        follower: Follower,
        per_address: int,
        certificate: Certificate | None = None,
        when_told: Callable[[], None] = lambda: None,
    ) -> None:
        """`per_address`: connections of one address. `certificate`: None: plain HTTP. `when_told`: see `Server`."""
        in_all, at_once = room_for_connections()
        super().__init__(
            uvicorn.Config(
                follower_app(follower),
                http=guarded(Connections(min(per_address, in_all // 2), in_all)),
                log_level="warning",
                access_log=False,
                lifespan="on",
                backlog=at_once,
                timeout_graceful_shutdown=GRACEFUL_S,
                ssl_context_factory=None if certificate is None else lambda *_: certificate.context,
            )
        )
        self._follower, self._certificate, self.when_told = follower, certificate, when_told

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; whether to end."""
        keep_up(self._certificate, counter)
        return await super().on_tick(counter) or self._follower.is_over
