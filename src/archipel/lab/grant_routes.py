"""What anybody may read of the pool and its grants, and of the compute that was pledged."""

import asyncio
from typing import Annotated

from fastapi import FastAPI, Query

from archipel.lab.compute_routes import compute_routes
from archipel.lab.grant_views import grants_view
from archipel.lab.lab import Lab
from archipel.records.fields import Did
from archipel.records.grant_documents import GrantsView

MAX_ROWS = 10_000
Rows = Annotated[int, Query(ge=0, le=MAX_ROWS, description="Grantees and pledges at most.")]
Grantee = Annotated[Did | None, Query(description="Of this key alone.")]


def grant_routes(api: FastAPI, lab: Lab) -> None:
    """Add them."""

    @api.get("/grants", summary="The pool, its rule, and what it granted")
    async def grants(grantee: Grantee = None, rows: Rows = 1000) -> GrantsView:
        return await asyncio.to_thread(grants_view, lab.state, lab.clock_ms(), rows, grantee)

    compute_routes(api, lab)
