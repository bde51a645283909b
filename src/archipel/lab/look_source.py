"""A lab that runs, as a source of looks (`dashboard.source.Source`).

Law: it reads what is durable and nothing else; a look costs nothing until it is asked, and waiting for growth costs one
event for all who wait.
"""

from archipel.lab.lab import Lab
from archipel.lab.look import MAX_ENTRIES, Look


class LabSource:
    """Of one lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._newest: Look | None = None

    @property
    def lab(self) -> str:
        """Its key."""
        return self._lab.identity.did

    @property
    def is_lab(self) -> bool:
        """It knows of nodes what no ledger says: when each asked for work last."""
        return True

    @property
    def problem(self) -> str | None:
        """Why it shows nothing new any more; None: it goes on."""
        failure = self._lab.failure
        return None if failure is None else f"this lab cannot go on: {failure}"

    def look(self) -> Look:
        """What is durable now."""
        lab, newest = self._lab, self._newest
        crowd = None if newest is None else newest.crowd
        self._newest = Look(lab.state, lab.clock_ms(), lab.asked_ms, crowd)
        return self._newest

    def head(self) -> str:
        """The newest signed tree head, a signed note."""
        return self._lab.log.head.note.decode()

    def entries(self, start: int, limit: int) -> list[bytes]:
        """Entries from `start` on, at most MAX_ENTRIES; waits for the disk."""
        return self._lab.log.read(max(start, 0), min(max(limit, 1), MAX_ENTRIES))

    async def grown(self, size: int, limit_s: float) -> int:
        """The ledger's size once it is above `size`, or after `limit_s`; at once when the lab is about to end."""
        return await self._lab.news.growth.above(size, limit_s)
