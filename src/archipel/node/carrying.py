"""One lease carried out: what it needs is fetched, the child works, and the machine rests as its operator allows.

Law: both fetching and working end with the lease, and with what one lab may have of the machine at a time.
"""

import asyncio
import time
from typing import Protocol

from archipel.node.client import LabClient
from archipel.node.errands import Errands
from archipel.node.exchange import LabUnreachable
from archipel.node.hosting import Hosting
from archipel.node.lease import Lease
from archipel.node.patience import Interrupt
from archipel.node.settings import NodeSettings
from archipel.node.standing import Doing, Standing
from archipel.node.stint import Sharing
from archipel.node.totals import Totals
from archipel.node.worker import Worker
from archipel.work.messages import Done

MIN_TRY_S = 1.0
"""A lease that is nearly over is still tried this long: clocks agree only so far."""


class Whose(Protocol):
    """What is needed of an agent."""

    settings: NodeSettings
    totals: Totals
    standing: Standing
    client: LabClient
    errands: Errands


class Carrying:
    """Of one agent."""

    def __init__(self, whose: Whose, interrupt: Interrupt, turns: Hosting, stint: Sharing) -> None:
        self._whose, self._interrupt, self._turns, self._stint = whose, interrupt, turns, stint

    async def out(self, lease: Lease, worker: Worker) -> Done:
        """What the child says in the end.

        Raises:
            LabUnreachable: what it needs did not come in time.
            WorkFailure, LabRefused, BlobError, OSError: as `Errands.prepare` and `Worker.work`.
        """
        whose, clock, deadline_ms = self._whose, self._whose.client.clock, lease.grant.deadline_ms
        if clock.is_stale or clock.left_s(deadline_ms) <= 0:
            await whose.client.set_clock()
        end_s = time.monotonic() + self._stint.longest_s

        def left_s() -> float:
            return max(min(clock.left_s(deadline_ms), end_s - time.monotonic()), MIN_TRY_S)

        try:
            async with asyncio.timeout(left_s()):
                message = await whose.errands.prepare(lease, worker)
        except TimeoutError:
            raise LabUnreachable("what the work needs did not come before its deadline") from None
        whose.errands.begun(lease.grant)
        turns = self._turns.of(message)
        return await worker.work(message, left_s(), whose.totals.progressed, turns)

    async def rest(self, busy_s: float) -> None:
        """Stay within the share of time the operator allows."""
        whose = self._whose
        whose.totals.busy_s += busy_s
        if whose.settings.duty < 1.0:
            rest_s = busy_s * (1.0 / whose.settings.duty - 1.0)
            whose.standing.at(Doing.RESTING, time.monotonic() + rest_s)
            await self._interrupt.unless_stopping(asyncio.sleep(rest_s))
