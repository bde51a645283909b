"""What anybody may read of who owns a run."""

import asyncio
from typing import Annotated

from fastapi import FastAPI, Query

from archipel.lab.lab import Lab
from archipel.lab.ownership_views import Counts, ownership_view
from archipel.lab.refusals import NoCharter, Unknown
from archipel.records.ownership_documents import OwnershipView

MAX_ROWS = 10_000

Rows = Annotated[int, Query(ge=0, le=MAX_ROWS, description="Holders at most.")]


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
