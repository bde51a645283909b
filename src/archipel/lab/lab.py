"""The lab: turns signed statements into ledger entries and entries into state.

Parts: `admission` says whether a statement may enter, `commit` folds it and makes it durable, `decide` says
what follows, `waiting` holds the nodes that wait for work, `handouts` says what goes out with a lease.
Law: what is not in the ledger did not happen, so a lab that is killed at any moment continues where its
ledger ends; nothing is awaited between judging a statement and folding it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

from archipel.blobs.port import LabBlobs
from archipel.identity import Identity, sign
from archipel.lab import refusals
from archipel.lab.admission import admit, admit_upload, is_trusted
from archipel.lab.answers import Answers
from archipel.lab.arrivals import event_fields, open_record
from archipel.lab.auctioneer import Auctioneer
from archipel.lab.commit import Committer, Recorded
from archipel.lab.decide import lost_leases, quarantined_leases
from archipel.lab.doorman import Buckets, Rate
from archipel.lab.drawing import any_due
from archipel.lab.endings import ended_leases
from archipel.lab.entry import Entry
from archipel.lab.forgetting import forgettable
from archipel.lab.handouts import Outgoing, Receipt, Records, Shelf, handout
from archipel.lab.leasing import Leasing
from archipel.lab.mesh import Mesh
from archipel.lab.newcomers import Newcomers
from archipel.lab.news import News
from archipel.lab.orders import Orders
from archipel.lab.recovery import recover
from archipel.lab.remnants import Remnants
from archipel.lab.start import PLAIN, Start
from archipel.lab.state import LabState
from archipel.lab.turns import Turns
from archipel.lab.uploads import OFFERS, Permit, Uploads
from archipel.lab.waiting import Waiter
from archipel.ledger.log import Log
from archipel.ledger.storage import LedgerError
from archipel.records.documents import Have
from archipel.records.fields import MAX_FORGOTTEN
from archipel.records.statements import (
    RECORD_TYPE,
    Asking,
    BlobOffered,
    LabOpened,
    LeaseRequested,
    NodeJoined,
    WorkAnswered,
    encode,
)
from archipel.records.statements import Recorded as RecordedStatement

logger = logging.getLogger("archipel.lab")

MAX_NODES = 100_000
"""Beyond, a newcomer takes the place of whoever is gone or never did anything."""
EXPIRY_INTERVAL_S = 0.2
"""How often deadlines are looked at."""
LOSSES_PER_KEY = Rate(burst=60, per_s=0.2)
"""Requests that do not know of a lease of theirs: each writes the lease's end into the ledger."""
MAX_WAIT_S = 60.0
"""A long poll never lasts longer."""


class Lab:
    """See the module's text; every public method leaves ledger and state in step."""

    def __init__(
        self,
        identity: Identity,
        log: Log,
        blobs: LabBlobs,
        clock_ms: Callable[[], int],
        start: Start = PLAIN,
        *,
        in_thread: bool = True,
    ) -> None:
        """`in_thread`: wait for the disk beside the event loop; False for ledgers in memory."""
        self.identity = identity
        self.log = log
        self.blobs = blobs
        self.clock_ms = clock_ms
        state = recover(identity.did, log, blobs, start.warm)
        self.records = Records(log)
        self.orders = Orders(state)
        self._shelf = Shelf(blobs, in_thread=in_thread)
        self.mesh = Mesh(blobs, lambda: self.clock_ms(), start.uplink, in_thread=in_thread)
        self.uploads = Uploads(blobs.exists)
        self._committer = Committer(
            log, state, self._on_durable, lambda: self._leasing.begin_anew(), in_thread=in_thread
        )
        self._answers = Answers(blobs, in_thread=in_thread)
        self._auctioneer = Auctioneer(log)
        self.news = News(lambda: self.state.size)
        self._newcomers = Newcomers(log, lambda: self.clock_ms(), in_thread=in_thread)
        self._losses = Buckets(LOSSES_PER_KEY, lambda: self.clock_ms() / 1000)
        self._failure: BaseException | None = None
        self._remnants = Remnants(self.orders, self.uploads, blobs, lambda: self.turns.exchange)
        self._leasing = Leasing(
            self._committer, self._signed, lambda: self.clock_ms(), remnants=self._remnants
        )
        self.asked_ms = self._leasing.asked_ms
        self.turns = Turns(self)

    @property
    def state(self) -> LabState:
        """What is durable."""
        return self._committer.state

    @property
    def ahead(self) -> LabState:
        """What is accepted."""
        return self._committer.ahead

    @property
    def failure(self) -> BaseException | None:
        """What keeps this lab from going on; its process has to end, and a new one starts from the ledger."""
        return self._failure or self.log.failure

    def fail(self, error: BaseException) -> None:
        """Something that the lab cannot do without has ended."""
        self._failure = self._failure or error

    async def found(self, operators: Sequence[str]) -> None:
        """Write the first entry of a new ledger; an existing one keeps its own operators."""
        if self.log.size == 0:
            did = self.identity.did
            await self.say(LabOpened(lab=did, author=did, seq=1, operators=tuple(operators)))

    async def submit(
        self, data: bytes, blobs: Sequence[bytes] = (), following: tuple[bytes, Have] | None = None
    ) -> Receipt:
        """Take in one signed statement, the small blobs that it names, and perhaps the next request.

        Raises:
            Refused: with the reason; nothing was recorded and the state is as before.
        """
        envelope, statement = open_record(data)
        if isinstance(statement, LeaseRequested):
            raise refusals.Malformed("a lease is requested at /leases, not submitted")
        if isinstance(statement, NodeJoined):
            await self._newcomers.look_at(self.ahead, statement)
        now_ms = self.clock_ms()  # for admission and the fold alike
        admit(self.ahead, statement, now_ms, self._answers.has_blob(blobs))
        if isinstance(statement, Asking):
            raise refusals.NotAllowed(f"{statement.kind} has no place in a ledger")
        if isinstance(statement, WorkAnswered):
            if await self._answers.inspected(self.ahead, statement, blobs):
                admit(self.ahead, statement, now_ms := self.clock_ms(), self._answers.has_blob(()))
        elif blobs:
            raise refusals.Malformed(f"{statement.kind} brings no blobs")
        if isinstance(statement, NodeJoined):
            self._newcomers.count(self.ahead, statement)
            self._make_room(statement.author)
        recording = self._record([Entry(now_ms, envelope, statement)])
        granting = None if following is None else self._granted_at_once(*following)
        return Receipt(await recording, None if granting is None else await granting)

    async def lease(self, data: bytes, wait_s: float, have: Have | None = None) -> Outgoing | None:
        """Answer a request for work, waiting up to `wait_s` for some to appear.

        A newer request of the same node ends the wait: nobody listens to the older one any more.

        Raises:
            Refused: the request is not acceptable.
        """
        entry = await self._leasing.wait(self._asks(data, have), min(max(wait_s, 0.0), MAX_WAIT_S))
        return None if entry is None else await self._out(entry, have)

    def permit_upload(self, offer: BlobOffered) -> Permit:
        """Take note of an upload that is about to start.

        Raises:
            Refused: nobody needs these bytes, or not that many.
        """
        work, digest = offer.work, offer.blob.digest
        admit_upload(self.ahead, offer, self.uploads.others(work, digest) if work else 0)
        if work is None:
            self.uploads.note_lasting(digest)
            return Permit(is_trusted(self.ahead, offer))
        self.uploads.note(work, digest, offer.blob.size, OFFERS[is_trusted(self.ahead, offer)])
        left_ms = self.ahead.leases[work].deadline_ms - self.clock_ms()
        return Permit(is_trusted(self.ahead, offer), max(left_ms, 0) / 1000)

    def close(self) -> None:
        """Let every waiting request go, empty-handed: the lab is about to end."""
        self._leasing.close()
        self.turns.exchange.close()
        self.news.close()

    async def settled(self) -> None:
        """Wait until everything accepted is durable."""
        await self._committer.settled()

    async def say(self, statement: RecordedStatement) -> Recorded:
        """Record a statement of the lab's own."""
        return await self._record([self._signed(statement)])

    def expire_leases(self) -> None:
        """Return overdue leases to the pool, those that ran out first; a great many take several calls."""
        try:
            self._say_all(self._leasing.overdue())
        except refusals.Refused:
            self._leasing.begin_anew()
            raise
        self._leasing.offer_again()

    def draw_audits(self) -> None:
        """Say what is due: a draw of noise or audits by the newest durable head, ends of leases in quarantine, rounds."""
        head = self._committer.head
        drawn = any_due(self.ahead, head.size, head.root, self.clock_ms())
        self._say_all(quarantined_leases(self.ahead) if drawn is None else [drawn])
        self._say_all(self._auctioneer.due(self.ahead, self.clock_ms()))

    async def watch_deadlines(self) -> None:
        """Look at the deadlines until cancelled; a full disk is retried, not fatal."""
        while True:
            with contextlib.suppress(refusals.Refused):
                self.expire_leases()
                self.draw_audits()
            await asyncio.sleep(EXPIRY_INTERVAL_S)

    async def _out(self, entry: Entry, have: Have | None) -> Outgoing:
        records, shelf, mesh = self.records, self._shelf, self.mesh
        return await handout(records, shelf, self.state, entry, have or Have(), mesh)

    def _asks(self, data: bytes, have: Have | None) -> Waiter:
        """A request, judged; its node's older one ends."""
        _, request = open_record(data)
        if not isinstance(request, LeaseRequested):
            raise refusals.Malformed(f"expected lease.requested, got {request.kind}")
        admit(self.ahead, request, self.clock_ms(), self._answers.has_blob(()))
        self.mesh.heard(request, have)
        waiter = self._leasing.asks(request)
        lost = lost_leases(self.ahead, request)
        if lost and self._losses.take(request.author):  # else they end at their deadlines
            self._say_all(lost)
        return waiter

    def _granted_at_once(self, data: bytes, have: Have) -> "asyncio.Future[Outgoing | None] | None":
        """The lease that a receipt brings along; whoever gets none asks again, and waits."""
        if not self._leasing.has_any():
            return None
        try:
            waiter = self._asks(data, have)
        except refusals.Refused:
            return None
        if not self._leasing.at_once(waiter):
            return None
        return asyncio.ensure_future(self._handed_out(waiter, have))

    async def _handed_out(self, waiter: Waiter, have: Have) -> Outgoing | None:
        try:
            entry = await waiter.granted
            return None if entry is None else await self._out(entry, have)
        except (refusals.Refused, LedgerError):  # the answer is in the ledger: its receipt goes out
            return None

    def _make_room(self, author: str) -> None:
        """Raises Busy when everybody who is here is at work."""
        if author in self.ahead.nodes or len(self.ahead.nodes) < MAX_NODES:
            return
        forgotten = forgettable(self.ahead, self.clock_ms(), MAX_FORGOTTEN, self.asked_ms)
        if forgotten is None:
            raise refusals.Busy(f"this lab has {MAX_NODES} nodes at work already; try again later")
        self._say_all([forgotten])
        self._leasing.forget(forgotten.nodes)

    def _say_all(self, statements: Sequence[RecordedStatement]) -> None:
        """Record statements of the lab's own; nobody waits for the disk."""
        if statements:
            self._record([self._signed(statement) for statement in statements])

    def _record(self, entries: Sequence[Entry]) -> "asyncio.Future[Recorded]":
        ended_by = [ended_leases(self.ahead, entry.statement) for entry in entries]
        for entry, ended in zip(entries, ended_by, strict=True):
            self._remnants.expect(entry.statement, ended)
        recording = self._committer.record(entries)
        for entry, ended in zip(entries, ended_by, strict=True):
            self.uploads.named(self._answers.named(entry.statement))
            self._remnants.let_go(ended)
            self._leasing.follow(entry.statement, ended)
        self._leasing.offer()
        return recording

    def _on_durable(self, first: int, entries: Sequence[Entry]) -> None:
        self.orders.follow((entry.statement for entry in entries), self.state)
        self.records.remember(first, entries)
        self.news.follow(entries)
        for entry in entries if logger.isEnabledFor(logging.INFO) else ():
            logger.info(entry.statement.kind, extra=event_fields(entry.statement))

    def _signed(self, statement: RecordedStatement) -> Entry:
        envelope = sign(self.identity, encode(statement), RECORD_TYPE)
        return Entry(self.clock_ms(), envelope, statement)
