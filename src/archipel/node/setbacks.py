"""What an agent does when something failed: it says so, gives the lease back, and waits before the next try.

Law: a failure costs at most the lease at hand. Waits grow with failures in a row; who is at fault decides
which row it counts in: the child's (`failures`), or nobody's, such as a full disk.
"""

import logging

from archipel.blobs import BlobError
from archipel.node.delivery import Deliveries
from archipel.node.exchange import LabRefused
from archipel.node.failures import Failures, WorkFailure
from archipel.node.patience import Patience
from archipel.node.settings import NodeSettings
from archipel.node.standing import NO_ANSWER, PAUSED
from archipel.node.totals import Totals
from archipel.records.fields import Fault
from archipel.records.statements import LeaseGranted

logger = logging.getLogger("archipel.node")

FAILED = "work failed"
REFUSED = "refused"
REFUSED_PAUSE = 2
"""Back off as at the third attempt, and longer while nothing else comes: it may be no lab at all."""

MAX_MISREAD = 4
"""So often in a row no wire garbles the same few hundred bytes: it is the node's words that the lab does not know."""


def failure_of(error: Exception) -> WorkFailure:
    """Whose fault it was that the lease brought nothing."""
    if isinstance(error, WorkFailure):
        return error
    if isinstance(error, BlobError | OSError):
        failure = WorkFailure(f"this machine cannot hold the work: {error}")
        failure.fault = None
        return failure
    return WorkFailure(f"{type(error).__name__}: {error}")


class Setbacks:
    """One agent's."""

    def __init__(
        self, deliveries: Deliveries, patience: Patience, settings: NodeSettings, totals: Totals
    ) -> None:
        self._deliveries = deliveries
        self._patience = patience
        self._failures = Failures(settings.home / "child.log")
        self._totals = totals
        self._refusals = REFUSED_PAUSE
        self.misread = 0
        """Times in a row that the lab could not read how this node joins."""
        self._troubles = 0
        """Failures in a row that are neither the child's nor the lab's doing."""

    def over(self, run: str) -> None:
        """Work of `run` was done after all."""
        self._failures.succeeded(run)
        self._troubles = 0

    async def give_back(self, grant: LeaseGranted, reason: str) -> None:
        """A lease that was not begun, or not finished, because the operator says so."""
        self._totals.count("returned", grant.work, reason)
        await self._deliveries.give_back(grant, reason)

    async def failed(self, grant: LeaseGranted, error: WorkFailure) -> None:
        """A lease whose work failed: the next may be of another run; only a disk has to be mended first."""
        await self.lose(grant, str(error), error.outcome, error.fault)
        if error.fault is None:
            await self.troubled(str(error))
        elif error.fault == "time":
            await self._patience.pause(0, FAILED, str(error))
        else:
            await self.child_failed(str(error), grant.spec.run)

    async def lose(
        self,
        grant: LeaseGranted,
        reason: str,
        outcome: str = "returned",
        fault: Fault | None = None,
    ) -> None:
        """A lease that brings nothing. fault: what the lab is told."""
        self._totals.count(outcome, grant.work, reason)
        logger.warning("work failed", extra={"work": grant.work, "reason": reason})
        await self._deliveries.give_back(grant, reason, fault)

    def bars(self, error: LabRefused) -> bool:
        """Whether the lab's no to joining is its last word; what the wire garbled is told again first."""
        self.misread = self.misread + 1 if error.may_be_of_the_wire else 0
        return error.bars_from_joining and self.misread not in range(1, MAX_MISREAD)

    async def refused(self, error: LabRefused) -> None:
        """The lab said no; or not now, its operator paused this node."""
        if error.problem == "node-paused":
            await self._patience.pause(0, PAUSED, error.detail)
            return
        logger.warning("refused", extra={"reason": str(error)})
        self._refusals = self._refusals + 1 if self._patience.suffers(REFUSED) else REFUSED_PAUSE
        await self._patience.pause(self._refusals, REFUSED, str(error))

    async def absent(self, grant: LeaseGranted, reason: str, is_over: bool) -> None:
        """The lab is away in the middle of work; its lease stays good until its deadline."""
        logger.warning("lab unreachable", extra={"work": grant.work, "reason": reason})
        if is_over:
            self._totals.count("lost", grant.work, reason)
        await self._patience.pause(self._troubles, NO_ANSWER, reason)
        self._troubles += 1

    async def troubled(self, reason: str) -> None:
        """A full disk and its like: nobody's work is at fault, so wait until it is mended."""
        logger.error("trouble", extra={"reason": reason})
        await self._patience.pause(self._troubles, "trouble on this machine", reason)
        self._troubles += 1

    async def child_failed(self, reason: str, run: str | None = None) -> None:
        """Raises NodeFailed: too often."""
        self._failures.failed(reason, run)
        await self._patience.pause(self._failures.in_a_row - 1, FAILED, reason)
