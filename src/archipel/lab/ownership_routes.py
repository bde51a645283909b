"""What anybody may read of who owns a run."""

import asyncio
from collections import OrderedDict
from threading import Lock
from typing import Annotated

from fastapi import FastAPI, Query

from archipel.lab import voting
from archipel.lab.lab import Lab
from archipel.lab.owners import Owned, Vote
from archipel.lab.ownership_views import ownership_view
from archipel.lab.refusals import NoCharter, Unknown
from archipel.market.voting import Count
from archipel.records.ownership_documents import OwnershipView
from archipel.records.recipe_charter import CharterTerms
from archipel.records.table import Table

MAX_ROWS = 10_000
MAX_COUNTS = 256
"""That are remembered: every open vote of eight runs."""

Rows = Annotated[int, Query(ge=0, le=MAX_ROWS, description="Holders at most.")]


class Counts:
    """Votes counted for whoever looks: each once, until a ballot or a delegation changes it; of any number of threads.

    A vote is recognised by its ballots and delegations being the very same objects, which nothing changes in place.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: OrderedDict[tuple[str, int], tuple[Vote, Table[str, str], Count]] = (
            OrderedDict()
        )

    def __call__(self, owned: Owned, charter: CharterTerms, vote: Vote) -> Count:
        """See `voting.count_of`."""
        key = (vote.said.run, vote.entry)
        with self._lock:
            known = self._known.pop(key, None)
            if known is None or known[0] is not vote or known[1] is not owned.delegates:
                known = (vote, owned.delegates, voting.count_of(owned, charter, vote))
            self._known[key] = known
            if len(self._known) > MAX_COUNTS:
                self._known.popitem(last=False)
            return known[2]


def ownership_routes(api: FastAPI, lab: Lab) -> None:
    """Add them."""
    counts = Counts()

    @api.get("/runs/{name}/ownership", summary="Who owns a run, and how its owners decided")
    async def ownership(name: str, rows: Rows = 1000) -> OwnershipView:
        run = lab.state.runs.get(name)
        if run is None:
            raise Unknown(f"no run {name!r:.80}; this lab has {sorted(lab.state.runs)[:8]}")
        try:
            return await asyncio.to_thread(
                ownership_view, lab.state, run, lab.clock_ms(), rows, counts
            )
        except NoCharter as error:
            raise Unknown(str(error)) from None
