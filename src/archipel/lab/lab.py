"""The lab: turns signed statements into ledger entries and entries into state.

Parts: `admission` says whether a statement may enter, `commit` folds it and makes it durable, `decide` says
what follows, `waiting` holds the nodes that wait for work, `handouts` says what goes out with a lease.
Law: what is not in the ledger did not happen, so a lab that is killed at any moment continues where its
ledger ends; nothing is awaited between judging a statement and folding it.
"""

import asyncio
import contextlib
import heapq
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from archipel.blobs import BlobStore
from archipel.identity import BadEnvelope, Envelope, Identity, IdentityError, sign
from archipel.lab import refusals
from archipel.lab.admission import MAX_NODES, admit, admit_upload, is_trusted
from archipel.lab.answers import Answers
from archipel.lab.commit import Committer, Recorded
from archipel.lab.decide import (
    Crowds,
    crowds,
    expired_leases,
    forgettable,
    grant,
    lost_leases,
    opportunities,
)
from archipel.lab.entry import Entry, open_envelope
from archipel.lab.handouts import Outgoing, Records, handout
from archipel.lab.recovery import recover
from archipel.lab.state import LabState
from archipel.lab.uploads import Uploads
from archipel.lab.waiting import Waiter, Waiting
from archipel.ledger.log import Log
from archipel.records.documents import Have
from archipel.records.fields import MAX_FORGOTTEN
from archipel.records.statements import (
    RECORD_TYPE,
    AnyStatement,
    Asking,
    BlobOffered,
    InvalidRecord,
    LabOpened,
    LeaseExpired,
    LeaseRequested,
    LeaseReturned,
    NodeJoined,
    Statement,
    WorkAnswered,
    encode,
)
from archipel.records.statements import Recorded as RecordedStatement

logger = logging.getLogger("archipel.lab")

EXPIRY_INTERVAL_S = 0.2
"""How often deadlines are looked at."""
MAX_WAIT_S = 60.0
"""A long poll never lasts longer."""
NODES_PER_MS = 10
"""How the nodes are together is computed again after one millisecond per so many nodes."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an accepted statement stands in the ledger, and the lease that was asked for with it."""

    recorded: Recorded
    next: Outgoing | None = None


class Lab:
    """See the module's text; every public method leaves ledger and state in step."""

    def __init__(
        self,
        identity: Identity,
        log: Log,
        blobs: BlobStore,
        clock_ms: Callable[[], int],
        *,
        in_thread: bool = True,
    ) -> None:
        """`in_thread`: wait for the disk beside the event loop; False for ledgers in memory."""
        self.identity = identity
        self.log = log
        self.blobs = blobs
        self.clock_ms = clock_ms
        state = recover(identity.did, log, blobs)
        self.records = Records(log)
        self.uploads = Uploads(blobs.exists)
        self._committer = Committer(log, state, self._on_durable, in_thread=in_thread)
        self._answers = Answers(blobs, in_thread=in_thread)
        self._waiting = Waiting()
        self._asked: dict[str, int] = {}
        """Node -> its newest request, granted or not."""
        self._deadlines = [(lease.deadline_ms, lease.work) for lease in state.leases.values()]
        heapq.heapify(self._deadlines)
        self._crowds: tuple[int, Crowds] = (0, {})
        self._closing = False

    @property
    def state(self) -> LabState:
        """What is durable."""
        return self._committer.state

    @property
    def ahead(self) -> LabState:
        """What is accepted."""
        return self._committer.ahead

    async def found(self, operators: Sequence[str]) -> None:
        """Write the first entry of a new ledger; an existing one keeps its own operators."""
        if self.log.size == 0:
            did = self.identity.did
            opened = LabOpened(lab=did, author=did, seq=1, operators=tuple(operators))
            await self._record([self._signed(opened)])

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
        has_blob = self._answers.has_blob(blobs)
        admit(self.ahead, statement, self.clock_ms(), has_blob)
        if isinstance(statement, Asking):
            raise refusals.NotAllowed(f"{statement.kind} has no place in a ledger")
        if isinstance(statement, WorkAnswered):
            if await self._answers.inspected(self.ahead, statement, blobs):
                admit(self.ahead, statement, self.clock_ms(), has_blob)
        elif blobs:
            raise refusals.Malformed(f"{statement.kind} brings no blobs")
        if isinstance(statement, NodeJoined):
            self._make_room(statement.author)
        recording = self._record([Entry(self.clock_ms(), envelope, statement)])
        granting = None if following is None else self._granted_at_once(*following)
        recorded = await recording
        return Receipt(recorded, None if granting is None else await granting)

    async def lease(self, data: bytes, wait_s: float, have: Have | None = None) -> Outgoing | None:
        """Answer a request for work, waiting up to `wait_s` for some to appear.

        A newer request of the same node ends the wait: nobody listens to the older one any more.

        Raises:
            Refused: the request is not acceptable.
        """
        waiter = self._asks(data)
        self._waiting.join(waiter)
        self._offer()
        timeout_s = min(max(wait_s, 0.0), MAX_WAIT_S)
        try:
            entry = await self._answered_in(waiter, timeout_s)
        finally:
            self._waiting.leave(waiter)
        if entry is None:
            return None
        return await handout(self.records, self.blobs, self.state, entry, have or Have())

    def permit_upload(self, offer: BlobOffered) -> bool:
        """Take note of an upload that is about to start; whether it is a trusted one.

        Raises:
            Refused: nobody needs these bytes, or not that many.
        """
        work, digest = offer.work, offer.blob.digest
        admit_upload(self.ahead, offer, self.uploads.others(work, digest) if work else 0)
        if work is not None:
            self.uploads.note(work, digest, offer.blob.size)
        return is_trusted(self.ahead, offer)

    def close(self) -> None:
        """Let every waiting request go, empty-handed: the lab is about to end."""
        self._closing = True
        for waiter in self._waiting.all():
            if not waiter.granted.done():
                waiter.granted.set_result(None)

    async def settled(self) -> None:
        """Wait until everything accepted is durable."""
        await self._committer.settled()

    async def say(self, statement: RecordedStatement) -> Recorded:
        """Record a statement of the lab's own."""
        return await self._record([self._signed(statement)])

    def expire_leases(self) -> None:
        """Return every overdue lease to the pool."""
        now_ms, due = self.clock_ms(), []
        while self._deadlines and self._deadlines[0][0] < now_ms:
            due.append(heapq.heappop(self._deadlines))
        if not due:
            return
        try:
            expired = expired_leases(self.ahead, [work for _, work in due], now_ms)
            self._say_all(expired)
        except refusals.Refused:
            for each in due:
                heapq.heappush(self._deadlines, each)
            raise
        self._offer()

    async def watch_deadlines(self) -> None:
        """Look at the deadlines until cancelled; a full disk is retried, not fatal."""
        while True:
            with contextlib.suppress(refusals.Refused):
                self.expire_leases()
            await asyncio.sleep(EXPIRY_INTERVAL_S)

    def _asks(self, data: bytes) -> Waiter:
        """A request, judged; its node's older one ends."""
        _, request = open_record(data)
        if not isinstance(request, LeaseRequested):
            raise refusals.Malformed(f"expected lease.requested, got {request.kind}")
        admit(self.ahead, request, self.clock_ms(), self._answers.has_blob(()))
        if request.seq <= self._asked.get(request.author, 0):
            raise refusals.Replayed(f"lease request {request.seq} was made before")
        older = self._waiting.of(request.author)
        if older is not None and not older.granted.done():
            older.granted.set_result(None)
        self._asked[request.author] = request.seq
        self._say_all(lost_leases(self.ahead, request))
        return Waiter(request, asyncio.get_running_loop().create_future())

    def _granted_at_once(self, data: bytes, have: Have) -> "asyncio.Future[Outgoing | None] | None":
        """The lease that a receipt brings along; whoever gets none asks again, and waits."""
        try:
            waiter = self._asks(data)
        except refusals.Refused:
            return None
        if not self._grant(waiter):
            return None
        return asyncio.ensure_future(self._handed_out(waiter, have))

    async def _handed_out(self, waiter: Waiter, have: Have) -> Outgoing | None:
        try:
            entry = await waiter.granted
        except refusals.Refused:
            return None
        if entry is None:
            return None
        return await handout(self.records, self.blobs, self.state, entry, have)

    async def _answered_in(self, waiter: Waiter, timeout_s: float) -> Entry | None:
        if self._closing:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.wait({waiter.granted})
        except TimeoutError:
            if not waiter.granted.done() and not self._is_granted(waiter):
                return None
        return await waiter.granted

    def _is_granted(self, waiter: Waiter) -> bool:
        """Granted already, and only on its way to the disk."""
        return self._waiting.of(waiter.request.author) is not waiter

    def _offer(self) -> None:
        """Hand out what there is to those who wait, first come, first served."""
        if not self._closing and len(self._waiting):
            found = opportunities(self.ahead)
            while found:
                kinds = {each.rules.name for each in found}
                if not any(self._grant(waiter) for waiter in self._waiting.able(kinds)):
                    return
                found = opportunities(self.ahead)

    def _grant(self, waiter: Waiter) -> bool:
        """Whether there was a lease for this node; then it waits no more."""
        if waiter.granted.done():
            return False
        now_ms = self.clock_ms()
        found = opportunities(self.ahead)
        granted = grant(self.ahead, waiter.request, now_ms, found, self._company(now_ms))
        if granted is None:
            return False
        entry = self._signed(granted)
        try:
            recording = self._committer.record([entry])
        except refusals.Refused as error:
            waiter.granted.set_exception(error)
            return True
        finally:
            self._waiting.leave(waiter)
        heapq.heappush(self._deadlines, (granted.deadline_ms, granted.work))
        _when_durable(recording, waiter.granted, entry)
        return True

    def _company(self, now_ms: int) -> Crowds:
        """How the nodes are together, not older than their number allows."""
        made_ms, known = self._crowds
        if not 0 <= now_ms - made_ms < len(self.ahead.nodes) // NODES_PER_MS:
            known = crowds(self.ahead, now_ms)
            self._crowds = (now_ms, known)
        return known

    def _make_room(self, author: str) -> None:
        if author not in self.ahead.nodes and len(self.ahead.nodes) >= MAX_NODES:
            forgotten = forgettable(self.ahead, self.clock_ms(), MAX_FORGOTTEN)
            if forgotten is not None:
                self._say_all([forgotten])
                for did in forgotten.nodes:
                    self._asked.pop(did, None)

    def _say_all(self, statements: Sequence[RecordedStatement]) -> None:
        """Record statements of the lab's own; nobody waits for the disk."""
        if statements:
            self._record([self._signed(statement) for statement in statements])

    def _record(self, entries: Sequence[Entry]) -> "asyncio.Future[Recorded]":
        recording = self._committer.record(entries)
        for entry in entries:
            self._lease_ended(entry.statement)
        self._offer()
        return recording

    def _lease_ended(self, statement: RecordedStatement) -> None:
        kept: tuple[str, ...] = ()
        if isinstance(statement, WorkAnswered):
            kept = tuple(blob.digest for blob in self._answers.blobs_of(statement))
        elif not isinstance(statement, LeaseExpired | LeaseReturned):
            return
        for digest in self.uploads.ended(statement.work, kept):
            self.blobs.discard(digest)

    def _on_durable(self, first: int, entries: Sequence[Entry]) -> None:
        self.records.remember(first, entries)
        for entry in entries:
            logger.info(entry.statement.kind, extra=event_fields(entry.statement))

    def _signed(self, statement: RecordedStatement) -> Entry:
        envelope = sign(self.identity, encode(statement), RECORD_TYPE)
        return Entry(self.clock_ms(), envelope, statement)


def _when_durable(
    recording: "asyncio.Future[Recorded]", granted: "asyncio.Future[Entry | None]", entry: Entry
) -> None:
    def tell(done: "asyncio.Future[Recorded]") -> None:
        error = done.exception()
        if granted.done():
            return
        if error is None:
            granted.set_result(entry)
        else:
            granted.set_exception(error)
            granted.exception()  # who asked may be gone

    if recording.done():
        tell(recording)
    else:
        recording.add_done_callback(tell)


def open_record(data: bytes) -> tuple[Envelope, AnyStatement]:
    """Parse and verify what a stranger sent.

    Raises:
        Malformed, WronglySigned: accordingly.
    """
    try:
        envelope = Envelope.from_json(data)
        return envelope, open_envelope(envelope)
    except (InvalidRecord, BadEnvelope) as error:
        raise refusals.Malformed(str(error)) from None
    except IdentityError as error:
        raise refusals.WronglySigned(str(error)) from None


def author_of(data: bytes) -> str:
    """Whose statement an envelope says it is, unverified; empty if it is none."""
    try:
        return Envelope.from_json(data).keyid
    except BadEnvelope:
        return ""


def event_fields(statement: Statement) -> dict[str, object]:
    """Who and what, for one log line: run, work and node ids where the statement has them."""
    fields: dict[str, object] = {"node": statement.author}
    for name in ("run", "work", "node", "deadline_ms", "reason"):
        if hasattr(statement, name):
            fields[name] = getattr(statement, name)
    for part in (getattr(statement, "spec", None), getattr(statement, "answer", None)):
        if part is not None:
            fields |= {
                "work_kind" if name == "kind" else name: getattr(part, name)
                for name in ("kind", "run", "version", "num_tokens")
                if hasattr(part, name)
            }
    return fields
