"""Talking to a lab: every call has a deadline, every failure one of two names.

`LabReader` only reads and needs no key (`lab_reader`); `LabClient` speaks for one. `LabUnreachable` may pass and is
retried by the caller; `LabRefused` is the lab's considered no.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from archipel.identity import Identity, sign
from archipel.node.clock import LabClock, Numbers
from archipel.node.exchange import (
    NO_HURRY,
    READ_LIMIT_S,
    Bounds,
    LabRefused,
    believed,
)
from archipel.node.lab_reader import NOBODY_S as NOBODY_S
from archipel.node.lab_reader import LabReader as LabReader
from archipel.node.lease import Lease, Wanted, lease_of, read_parcel
from archipel.node.sealed import Founding, NotBelieved
from archipel.records import documents
from archipel.records.document import BadDocument
from archipel.records.fields import BlobRef
from archipel.records.kinds import Answer
from archipel.records.parcel import MEDIA_TYPE, pack_parcel
from archipel.records.statement import Statement
from archipel.records.statements import (
    RECORD_TYPE,
    BlobOffered,
    LeaseRequested,
    WorkAnswered,
    encode,
)

JSON = {"Content-Type": "application/json"}
PARCEL = {"Content-Type": MEDIA_TYPE}

D = TypeVar("D", bound=BaseModel)
S = TypeVar("S", bound=Statement)


class LabClient(LabReader):
    """One identity's connection to one lab."""

    def __init__(self, url: str, identity: Identity, clock: LabClock | None = None) -> None:
        super().__init__(url)
        self.identity = identity
        self.clock = clock or LabClock()
        self.bytes_up = 0
        self.numbers = Numbers(self.clock)
        self._speaking = asyncio.Lock()

    async def greet(self) -> documents.LabFacts:
        """Learn who the lab is and which number it heard last from us; must precede any statement.

        Nobody signs its clock and that number, so what was believed of them before is forgotten.
        """
        facts = await self.meet()
        self.numbers.forget()
        await self.set_clock()
        self.numbers.begin()
        return facts

    async def set_clock(self) -> None:
        """Learn the lab's time, and the number that it heard last from us."""
        before_ns = self.clock.ticks()
        spoken = await self.read(documents.KeyFacts, f"/keys/{self.identity.did}")
        believed(lambda: self.numbers.heard(spoken))
        self.clock.set(spoken.now_ms, before_ns, self.clock.ticks())

    def turn(
        self, url: str, founding: Founding, spoken: documents.KeyFacts, before_ns: int
    ) -> None:
        """Speak to the lab at `url` from now on, which continues this one's ledger; before_ns: as of `LabClock.set`.

        Nothing is awaited: every statement is to one lab or the other.
        """
        self.turn_to(url)
        self.founding = founding
        self.numbers.forget()
        believed(lambda: self.numbers.heard(spoken))
        self.clock.set(spoken.now_ms, before_ns, self.clock.ticks())
        self.numbers.begin()

    async def hears_another(self) -> bool:
        """Whether the lab heard a number from this key, since we met it, that we did not say."""
        facts = await self.read(documents.KeyFacts, f"/keys/{self.identity.did}")
        return self.numbers.is_of_another(facts.last_seq)

    async def submit(self, kind: type[Statement], **fields: Any) -> documents.Receipt:
        """Say something that changes the lab's state.

        One at a time: statements must arrive in the order of their numbers.
        """
        async with self._speaking:
            sealed = self._sealed(self._statement(kind, fields))
            data = await self._exchange("POST", "/records", content=sealed, headers=JSON)
        return self._parcel(documents.Receipt, data)[0]

    async def answer(
        self, work: str, answer: Answer, blobs: Sequence[bytes], wanted: Wanted | None
    ) -> tuple[documents.Receipt, Lease | NotBelieved | None]:
        """Answer a lease with small blobs beside it, and ask for the next one in the same breath.

        The next lease is None if there was none at once; NotBelieved if the lab's grant is none.
        """
        async with self._speaking:
            said = self._sealed(self._statement(WorkAnswered, {"work": work, "answer": answer}))
            request, asked = (None, None) if wanted is None else self._asked(wanted)
            document = documents.Submitted(record=said.decode(), next=asked)
            content = pack_parcel(document.model_dump_json().encode(), blobs)
            data = await self._exchange("POST", "/records", content=content, headers=PARCEL)
        self.bytes_up += sum(map(len, blobs))
        receipt, beside = self._parcel(documents.Receipt, data)
        if receipt.handout is None or request is None:
            return receipt, None
        try:
            return receipt, lease_of(receipt.handout, beside, request)
        except NotBelieved as error:
            return receipt, error

    async def lease(self, wanted: Wanted, wait_s: float) -> Lease | None:
        """Ask for work and wait for it up to `wait_s`."""
        request, asked = self._asked(wanted)
        data = await self.post("/leases", asked.model_dump_json().encode(), (), wait_s)
        handout, blobs = self._parcel(documents.Handout, data) if data else (None, [])
        return None if handout is None else believed(lambda: lease_of(handout, blobs, request))

    async def post(
        self, path: str, document: bytes, blobs: Sequence[bytes], wait_s: float | None = None
    ) -> bytes:
        """Send a parcel; `wait_s`: the lab may hold its answer back so long."""
        waits: dict[str, Any] = {}
        if wait_s is not None:
            waits = {"params": {"wait_s": f"{wait_s:.3f}"}, "timeout": wait_s + READ_LIMIT_S}
        limits = Bounds(limit_s=(wait_s or 0.0) + READ_LIMIT_S)
        content = pack_parcel(document, blobs)
        return await self._exchange("POST", path, limits, content=content, headers=PARCEL, **waits)

    def offer(self, blob: BlobRef, work: str | None) -> dict[str, str]:
        """The header that permits an upload."""
        offer = self._sealed(self._statement(BlobOffered, {"blob": blob, "work": work}))
        return {"Archipel-Offer": base64.b64encode(offer).decode()}

    async def put(
        self, blob: BlobRef, headers: dict[str, str], content: bytes | AsyncIterator[bytes]
    ) -> None:
        """Send the rest of a blob; as long as it takes, but no silence on the way."""
        path = f"/blobs/{blob.digest}"
        await self._exchange("PUT", path, NO_HURRY, headers=headers, content=content)

    def _statement(self, kind: type[S], fields: dict[str, Any]) -> S:
        if not self.lab:
            raise RuntimeError("greet the lab before speaking to it")
        return kind(lab=self.lab, author=self.identity.did, seq=self.numbers.next(), **fields)

    def _sealed(self, statement: Statement) -> bytes:
        return sign(self.identity, encode(statement), RECORD_TYPE).to_json()

    def _asked(self, wanted: Wanted) -> tuple[LeaseRequested, documents.Asked]:
        fields = {"kinds": wanted.kinds, "holding": wanted.holding, "runs": wanted.runs}
        request = self._statement(LeaseRequested, fields)
        sealed = self._sealed(request).decode()
        return request, documents.Asked(request=sealed, have=wanted.have)

    def _parcel(self, kind: type[D], data: bytes) -> tuple[D, list[bytes]]:
        try:
            return read_parcel(kind, data)
        except BadDocument as error:
            raise LabRefused("unexpected-answer", f"no {kind.__name__}: {error}", 200) from None
