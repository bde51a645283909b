"""What anybody may read of pledged compute."""

import asyncio
from typing import Annotated

from fastapi import FastAPI, Query

from archipel.lab.compute_views import compute_view
from archipel.lab.lab import Lab
from archipel.records.compute_documents import ComputeView
from archipel.records.fields import Did

MAX_ROWS = 10_000
Rows = Annotated[int, Query(ge=0, le=MAX_ROWS, description="Pledges at most.")]
Provider = Annotated[Did | None, Query(description="Of this key alone.")]


def compute_routes(api: FastAPI, lab: Lab) -> None:
    """Add them."""

    @api.get("/compute", summary="Compute that providers pledged, and what they gave")
    async def compute(provider: Provider = None, rows: Rows = 1000) -> ComputeView:
        return await asyncio.to_thread(compute_view, lab.state, lab.clock_ms(), rows, provider)
