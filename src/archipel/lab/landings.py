"""Landings that a lab has open: whose they are, how many a lease has, and those that are looked at just now.

Law: whoever may not upload through the lab gets no landing; one counts as an upload of its lease from its beginning to
its end. One sender has one landing for a blob: asking again ends the one before.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass

from archipel.blobs import landing as stored
from archipel.blobs.errors import BlobIncomplete, BlobMissing, DigestMismatch
from archipel.lab import refusals
from archipel.lab.lab import Lab
from archipel.lab.uploads import MAX_OFFERS_PER_LEASE, Permit
from archipel.records.statements import BlobOffered

LEAST_RATE = 1024 * 1024
"""Bytes a second: a landing is open for as long as they would take, and `LEAST_LIFE_S` at least."""
LEAST_LIFE_S = 900.0
LOOK_WAIT_S = 20.0
"""A lab that looks at what landed for longer says that it is not done, and is asked again."""


@dataclass(frozen=True, slots=True)
class _Mine:
    """Of one sender."""

    author: str
    work: str | None
    digest: str
    until_s: float


class LandingDesk:
    """Of one lab, over a store whose bytes may pass by it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._mine: dict[str, _Mine] = {}
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._opened: Counter[str] = Counter()
        """Work -> landings that were opened for it."""

    async def open(self, offer: BlobOffered, permit: Permit) -> stored.Landing:
        """A landing for what was offered and permitted.

        Raises:
            NoLanding: these bytes pass the lab. Busy: too many of this lease's are under way. BlobError.
        """
        direct = self._lab.blobs.direct
        if direct is None:
            raise refusals.NoLanding("this lab takes all bytes itself; PUT them here")
        size, work = offer.blob.size, offer.work
        await self._tidy(direct, offer)
        self._count(work)
        self._lab.uploads.begin(work)
        try:
            life_s = max(LEAST_LIFE_S, size / LEAST_RATE)
            life_s = life_s if permit.left_s is None else min(life_s, permit.left_s)
            made = await asyncio.to_thread(
                direct.open, offer.blob.digest, size, life_s, privileged=permit.is_trusted
            )
        except BaseException:
            self._lab.uploads.end(work)
            raise
        self._mine[made.name] = _Mine(offer.author, work, offer.blob.digest, made.until_s)
        return made

    async def land(self, name: str, offer: BlobOffered, tags: tuple[str, ...]) -> bool:
        """Look at what landed; false: that is not done yet, ask again.

        Raises:
            NoLanding: there is none of this sender's, or its time is over. BlobError.
        """
        direct, mine = self._lab.blobs.direct, self._mine.get(name)
        is_his = mine is not None and (mine.author, mine.work) == (offer.author, offer.work)
        if direct is None or mine is None or not is_his or mine.digest != offer.blob.digest:
            raise refusals.NoLanding("no such landing is open; PUT the bytes here")
        look = self._looks.get(name)
        if look is None:
            look = asyncio.create_task(asyncio.to_thread(direct.land, name, tags))
            self._looks[name] = look
        done, _ = await asyncio.wait({look}, timeout=LOOK_WAIT_S)
        if not done:
            return False
        self._looks.pop(name, None)
        try:
            look.result()
        except BlobMissing as error:
            self._ended(name)
            raise refusals.NoLanding(f"{error}; PUT the bytes here") from None
        except (BlobIncomplete, DigestMismatch):  # it has ended in the store, too
            self._ended(name)
            raise
        self._ended(name)
        return True

    async def _tidy(self, direct: stored.Direct, offer: BlobOffered) -> None:
        """What this sender asked for before, and what is over, has ended."""
        mine = (offer.author, offer.work, offer.blob.digest)
        now_s = self._lab.clock_ms() / 1000
        for name, each in list(self._mine.items()):
            is_again = (each.author, each.work, each.digest) == mine
            if name not in self._looks and (is_again or each.until_s <= now_s):
                self._ended(name)
                await asyncio.to_thread(direct.abandon, name)

    def _count(self, work: str | None) -> None:
        """Raises NoLanding: so many, and no answer; those of leases that ended are forgotten."""
        if work is None:
            return
        leases = self._lab.ahead.leases
        for old in [each for each in self._opened if each not in leases]:
            del self._opened[old]
        if self._opened[work] >= MAX_OFFERS_PER_LEASE:
            raise refusals.NoLanding(f"{MAX_OFFERS_PER_LEASE} were opened for {work}; PUT it here")
        self._opened[work] += 1

    def _ended(self, name: str) -> None:
        mine = self._mine.pop(name, None)
        if mine is not None:
            self._lab.uploads.end(mine.work)
