"""The lab: one writer that turns signed statements into ledger entries and entries into state.

Parts: `admission` says whether a statement may enter, the ledger makes it durable, `apply` makes it
count, `decide` says what follows. Law: append first, apply second; what is not in the ledger did not
happen, so a lab that is killed at any moment continues where its ledger ends.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from archipel.blobs import BlobError, BlobStore
from archipel.identity import BadEnvelope, Envelope, Identity, IdentityError, sign
from archipel.lab import refusals
from archipel.lab.admission import admit, admit_upload
from archipel.lab.apply import apply
from archipel.lab.decide import expired_leases, grant, lost_leases
from archipel.lab.entry import Entry, open_envelope, read_entry
from archipel.lab.state import LabState
from archipel.ledger.log import Log
from archipel.ledger.storage import LedgerError
from archipel.ledger.tree_head import TreeHead
from archipel.records.fields import BlobRef
from archipel.records.statements import (
    RECORD_TYPE,
    AnyStatement,
    BlobOffered,
    InvalidRecord,
    LabOpened,
    LeaseGranted,
    LeaseRequested,
    Statement,
    encode,
)

logger = logging.getLogger("archipel.lab")

REPLAY_PAGE = 1000
"""Entries read from the ledger at a time."""
EXPIRY_INTERVAL_S = 0.2
"""How often deadlines are looked at."""
MAX_WAIT_S = 60.0
"""A long poll never lasts longer."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where an accepted statement stands in the ledger."""

    index: int
    head: TreeHead


class Lab:
    """See the module's text; every public method leaves ledger and state in step."""

    def __init__(
        self, identity: Identity, log: Log, blobs: BlobStore, clock_ms: Callable[[], int]
    ) -> None:
        self.identity = identity
        self.log = log
        self.blobs = blobs
        self.clock_ms = clock_ms
        self.state = replay(identity.did, log)
        self._changed = asyncio.Event()
        """Set at the next change, and then replaced: who waits for it took hold of it before looking."""
        self._asked: dict[str, int] = {}
        """Node -> its newest request, granted or not."""
        self._taken: dict[str, dict[str, int]] = {}
        """Open lease -> digest and size of what was offered for it."""
        self._closing = False

    def found(self, operators: Sequence[str]) -> None:
        """Write the first entry of a new ledger; an existing one keeps its own operators."""
        if self.log.size == 0:
            opened = LabOpened(
                lab=self.identity.did,
                author=self.identity.did,
                seq=1,
                operators=tuple(operators),
            )
            self._append([self._signed(opened)])

    async def submit(self, data: bytes) -> Receipt:
        """Take in one signed statement.

        Raises:
            Refused: with the reason; nothing was recorded and the state is as before.
        """
        envelope, statement = open_record(data)
        if isinstance(statement, LeaseRequested):
            raise refusals.Malformed("a lease is requested at /leases, not submitted")
        admit(self.state, statement, self._has_blob, self._read_blob)
        return self._append([Entry(self.clock_ms(), envelope, statement)])

    async def lease(self, data: bytes, wait_s: float) -> Envelope | None:
        """Answer a request for work, waiting up to `wait_s` for some to appear.

        A newer request of the same node ends the wait: nobody listens to the older one any more.

        Raises:
            Refused: the request is not acceptable.
        """
        _, request = open_record(data)
        if not isinstance(request, LeaseRequested):
            raise refusals.Malformed(f"expected lease.requested, got {request.kind}")
        admit(self.state, request, self._has_blob, self._read_blob)
        if request.seq <= self._asked.get(request.author, 0):
            raise refusals.Replayed(f"lease request {request.seq} was made before")
        self._asked[request.author] = request.seq
        self._wake()
        self._append([self._signed(each) for each in lost_leases(self.state, request)])
        deadline = asyncio.get_running_loop().time() + min(max(wait_s, 0.0), MAX_WAIT_S)
        return await self._grant_when_possible(request, deadline)

    def permit_upload(self, offer: BlobOffered) -> None:
        """Take note of an upload that is about to start.

        Raises:
            Refused: nobody needs these bytes, or not that many.
        """
        taken = self._taken.get(offer.work or "", {})
        others = sum(size for digest, size in taken.items() if digest != offer.blob.digest)
        admit_upload(self.state, offer, others)
        if offer.work is not None:
            self._taken.setdefault(offer.work, {})[offer.blob.digest] = offer.blob.size

    def close(self) -> None:
        """Let every waiting request go, empty-handed: the lab is about to end."""
        self._closing = True
        self._wake()

    def expire_leases(self) -> None:
        """Return every overdue lease to the pool."""
        expired = expired_leases(self.state, self.clock_ms())
        self._append([self._signed(statement) for statement in expired])

    async def watch_deadlines(self) -> None:
        """Look at the deadlines until cancelled; a full disk is retried, not fatal."""
        while True:
            with contextlib.suppress(refusals.StorageExhausted):
                self.expire_leases()
            await asyncio.sleep(EXPIRY_INTERVAL_S)

    async def _grant_when_possible(
        self, request: LeaseRequested, deadline: float
    ) -> Envelope | None:
        """Nothing is awaited between looking, recording and answering: no grant gets lost here."""
        while not self._closing and self._asked[request.author] == request.seq:
            changed = self._changed
            granted = grant(self.state, request, self.clock_ms())
            if granted is not None:
                return self._record_grant(granted)
            try:
                async with asyncio.timeout_at(deadline):
                    await changed.wait()
            except TimeoutError:
                return None
        return None

    def _record_grant(self, granted: LeaseGranted) -> Envelope:
        entry = self._signed(granted)
        self._append([entry])
        return entry.envelope

    def _append(self, entries: list[Entry]) -> Receipt:
        first = self.log.size
        if not entries:
            return Receipt(first - 1, self.log.head)
        try:
            head = self.log.append([entry.to_bytes() for entry in entries])
        except LedgerError as error:
            raise refusals.StorageExhausted(f"the ledger cannot grow: {error}") from None
        for entry in entries:
            self.state = apply(self.state, entry.statement, entry.at_ms)
            logger.info(entry.statement.kind, extra=event_fields(entry.statement))
        for work in self._taken.keys() - self.state.leases.keys():
            del self._taken[work]
        self._wake()
        return Receipt(first + len(entries) - 1, head)

    def _signed(self, statement: AnyStatement) -> Entry:
        envelope = sign(self.identity, encode(statement), RECORD_TYPE)
        return Entry(self.clock_ms(), envelope, statement)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _has_blob(self, blob: BlobRef) -> bool:
        return self.blobs.exists(blob.digest) and self.blobs.size(blob.digest) == blob.size

    def _read_blob(self, blob: BlobRef) -> bytes:
        try:
            return self.blobs.read_bytes(blob.digest, blob.size)
        except BlobError as error:
            raise refusals.MissingBlob(str(error)) from None


def replay(lab: str, log: Log) -> LabState:
    """The state that a ledger amounts to, every signature verified on the way."""
    state = LabState(lab=lab)
    for start in range(0, log.size, REPLAY_PAGE):
        for data in log.read(start, REPLAY_PAGE):
            entry = read_entry(data)
            state = apply(state, entry.statement, entry.at_ms)
    return state


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


def event_fields(statement: Statement) -> dict[str, object]:
    """Who and what, for one log line: run, work and node ids where the statement has them."""
    fields: dict[str, object] = {"node": statement.author}
    for name in ("run", "work", "version", "node", "deadline_ms", "num_tokens", "reason"):
        if hasattr(statement, name):
            fields[name] = getattr(statement, name)
    spec = getattr(statement, "spec", None)
    if spec is not None:
        fields |= {"run": spec.run, "work_kind": spec.kind, "version": spec.version}
    return fields
