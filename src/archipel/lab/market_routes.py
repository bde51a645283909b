"""What anybody may read of a run's market."""

import asyncio
from typing import Annotated

from fastapi import FastAPI, Query

from archipel.lab.lab import Lab
from archipel.lab.market_views import NoMarket, market_view
from archipel.lab.refusals import Unknown
from archipel.records.market_documents import MarketView

MAX_ROWS = 1000

Rows = Annotated[
    int, Query(ge=0, le=MAX_ROWS, description="Awards, and bids of the last round, at most.")
]
OfNode = Annotated[str | None, Query(max_length=64, description="Also how this node stands in it.")]


def market_routes(api: FastAPI, lab: Lab) -> None:
    """Add them."""

    @api.get(
        "/runs/{name}/market", summary="How a run's rollouts are bought: round, clearing, prices"
    )
    async def market(name: str, rows: Rows = 100, node: OfNode = None) -> MarketView:
        run = lab.state.runs.get(name)
        if run is None:
            raise Unknown(f"no run {name!r:.80}; this lab has {sorted(lab.state.runs)[:8]}")
        try:
            return await asyncio.to_thread(market_view, lab.state, run, lab.clock_ms(), rows, node)
        except NoMarket as error:
            raise Unknown(str(error)) from None
