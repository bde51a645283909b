"""Open runs of the labs that a node serves, as they show them, and which of them it works for: by rules and by pledges.

Law: a lab says what its runs are for, the operator alone says which of them are served; what a lab does not show is not
worked for where somebody asks by run or purpose.
"""

import logging
from collections.abc import Mapping, Sequence

from archipel.node.client import LabClient
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.labs_file import Served
from archipel.node.pledged import Pledged, names_of
from archipel.records.documents import RunView

logger = logging.getLogger("archipel.node")

MAX_RUNS_SEEN = 64
"""Of one lab, that are asked for by name."""
OVER = ("complete", "stopped")


class SeenRuns:
    """Of all labs of one node."""

    def __init__(self) -> None:
        self.pledges: tuple[Pledged, ...] = ()
        """That hold now."""
        self._runs: dict[str, Mapping[str, tuple[str, ...]]] = {}
        """Lab -> its open runs with their purposes; none: not seen yet."""

    def asks(self, served: Served) -> bool:
        """Whether this lab is asked for certain runs alone, now or in some stints."""
        return served.is_particular or any(each.purpose for each in self.pledges)

    def is_blind(self, name: str, served: Served) -> bool:
        """Whether it must be looked at before it can be asked."""
        return self.asks(served) and name not in self._runs

    def forget(self, name: str) -> None:
        """The lab is served no more."""
        self._runs.pop(name, None)

    async def look(self, name: str, client: LabClient) -> None:
        """See which runs there are. A lab that does not answer shows what it showed before."""
        try:
            views = await client.read_all(RunView, "/runs")
        except (LabRefused, LabUnreachable) as error:
            logger.info("no look at runs", extra={"lab": name, "reason": str(error)})
            return
        self.show(name, views)

    def show(self, name: str, views: Sequence[RunView]) -> None:
        """What the lab shows now."""
        self._runs[name] = {
            each.run: each.purposes or () for each in views if each.phase not in OVER
        }

    def served(self, name: str, served: Served) -> Mapping[str, tuple[str, ...]]:
        """Runs of a lab that may be worked for -> their purposes."""
        seen = self._runs.get(name, {})
        return {run: purposes for run, purposes in seen.items() if served.takes(run, purposes)}

    def serves(self, name: str, served: Served, lab: str) -> list[str]:
        """Pledges that work for this lab could count for now. lab: its key."""
        wanted = {purpose for each in self.served(name, served).values() for purpose in each}
        return names_of(self.pledges, lab, name, wanted)

    def counts(self, name: str, run: str, lab: str) -> list[str]:
        """Pledges that work of this run counts for."""
        return names_of(self.pledges, lab, name, self._runs.get(name, {}).get(run, ()))

    def allowed(self, name: str, served: Served, floor: str | None) -> tuple[str, ...] | None:
        """The only runs that may be asked for; None: any. floor: the pledge that it is for."""
        purpose = next((each.purpose for each in self.pledges if each.name == floor), None)
        if purpose is None and not served.is_particular:
            return None
        found = self.served(name, served)
        chosen = [run for run, its in found.items() if purpose is None or purpose in its]
        return tuple(chosen[:MAX_RUNS_SEEN])
