"""What a lab does for its own long life: snapshots of its state, and room on its disk.

Law: nothing that is needed (`garbage`) is ever deleted, and nothing by a lab that leads no more; what a snapshot or a sweep cannot do now is tried
again later, and stops nothing.
"""

import asyncio
import logging
import time

from archipel.blobs import BlobError
from archipel.blobs.sweep import SweepReport
from archipel.lab import refusals
from archipel.lab.apply import MAX_SNAPSHOT_LAG
from archipel.lab.decide import next_seq
from archipel.lab.lab import Lab
from archipel.lab.parted import Parted
from archipel.lab.recovery import snapshot_ref
from archipel.lab.snapshots import FORMAT, encode_state
from archipel.lab.state import LabState
from archipel.ledger.storage import LedgerError
from archipel.records.canonical import NotCanonical
from archipel.records.statements import SnapshotTaken

logger = logging.getLogger("archipel.lab")

SNAPSHOT_EVERY = 20_000
"""Entries between two snapshots: what a start has to fold at the most."""
SNAPSHOT_AT_END = 1000
"""A lab that ends in good order takes one if so much has happened since the last."""
SWEEP_INTERVAL_S = 60.0
GRACE_S = 3600.0
"""A blob that nobody needs stays this long: whoever sent it may be about to name it."""
SHORT_GRACE_S = 120.0
"""On a disk that is nearly full."""
NEARLY_FULL = 0.8


class Upkeep:
    """Of one lab."""

    def __init__(self, lab: Lab, snapshot_every: int = SNAPSHOT_EVERY) -> None:
        self._lab = lab
        self._parted = Parted(lab.blobs)
        self._snapshot_every = snapshot_every
        self._next_sweep_s = 0.0
        self._next_try_s = 0.0
        self._began_ms = lab.clock_ms()

    async def go_on(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            is_due = self._is_snapshot_due(self._snapshot_every)
            if is_due and time.monotonic() >= self._next_try_s and not await self.take_snapshot():
                self._next_try_s = time.monotonic() + SWEEP_INTERVAL_S
            if time.monotonic() >= self._next_sweep_s:
                await self.sweep()
                self._next_sweep_s = time.monotonic() + SWEEP_INTERVAL_S

    async def end(self) -> None:
        """The last snapshot of a lab that ends in good order."""
        if self._lab.failure is None and self._is_snapshot_due(SNAPSHOT_AT_END):
            await self.take_snapshot()

    async def take_snapshot(self) -> bool:
        """Write the state that is durable now, and say so in the ledger; whether it worked."""
        lab, state = self._lab, self._lab.state
        try:
            data = await asyncio.to_thread(encode_state, state)
            await asyncio.to_thread(lab.blobs.put_bytes, data, privileged=True)
            if lab.ahead.size - state.size > MAX_SNAPSHOT_LAG:
                return False
            taken = SnapshotTaken(
                lab=state.lab,
                author=state.lab,
                seq=next_seq(lab.ahead),
                format=FORMAT,
                size=state.size,
                state=snapshot_ref(data),
            )
            await lab.say(taken)
        except (BlobError, OSError, NotCanonical, refusals.Refused) as error:
            logger.warning("no snapshot", extra={"reason": str(error)})
            return False
        return True

    async def sweep(self, grace_s: float | None = None) -> int:
        """Delete what nobody needs and nobody touched for `grace_s`; returns the bytes."""
        lab = self._lab
        at_this_moment = (lab.ahead, lab.state), lab.uploads.digests()
        try:
            report = await asyncio.to_thread(self._swept, *at_this_moment, grace_s)
        except (BlobError, OSError, LedgerError) as error:
            logger.warning("no sweep", extra={"reason": str(error)})
            return 0
        if report.num_bytes:
            logger.info("swept", extra={"blobs": report.num_whole, "bytes": report.num_bytes})
        return report.num_bytes

    def _swept(
        self, states: tuple[LabState, ...], offered: set[str], grace_s: float | None
    ) -> SweepReport:
        """In a thread: states cannot change. A lab that leads no more knows not what is needed."""
        self._lab.log.check_writer()
        grace_s = self.grace_s() if grace_s is None else grace_s
        live = self._parted.needed(*states) | offered
        return self._lab.blobs.sweep(live, now_s=time.time(), older_than_s=grace_s, idle_s=grace_s)

    def grace_s(self) -> float:
        """Shorter when the disk is nearly full, unless somebody still holds work from before this start: what
        came for it then is known by nothing but its age.
        """
        leases = self._lab.state.leases.values()
        if any(lease.granted_at_ms < self._began_ms for lease in leases):
            return GRACE_S
        store = self._lab.blobs
        used = store.used().total_bytes
        return SHORT_GRACE_S if used > NEARLY_FULL * (used + store.room()) else GRACE_S

    def _is_snapshot_due(self, every: int) -> bool:
        state = self._lab.state
        taken = state.snapshot[0] if state.snapshot else 0
        return state.size - taken >= every
