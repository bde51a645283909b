"""What anybody may read of a lab: who it is, its ledger, and how runs, nodes and leases stand.

Law: views of thousands are pages, cut from an order that is at hand (`orders`), and computed beside the
event loop over a state that cannot change.
"""

import asyncio
import base64
from itertools import islice
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Query
from fastapi import Path as InPath
from fastapi.responses import PlainTextResponse

from archipel import __version__
from archipel.lab import views
from archipel.lab.handouts import publications
from archipel.lab.lab import Lab
from archipel.lab.metrics import (
    LeaderCollector,
    MeshCollector,
    StateCollector,
    TrafficCollector,
    prometheus_text,
)
from archipel.lab.mirrors.figures import MirrorCollector
from archipel.lab.mirrors.seen_files import mirrors_in
from archipel.lab.orders import page
from archipel.lab.presence import GONE_MS, here
from archipel.lab.refusals import Unknown
from archipel.lab.state import Run
from archipel.lab.traffic import Traffic
from archipel.records import documents
from archipel.records.canonical import MAX_SAFE_INTEGER
from archipel.records.leader_document import LeaderFacts

MAX_ENTRIES_PER_PAGE = 1000
MAX_ROWS_PER_PAGE = 10_000
MAX_RUNS_PER_PAGE = 1000
RUN_PATH = "/runs/{name}"

Start = Annotated[int, Query(ge=0, le=MAX_SAFE_INTEGER)]
VersionNumber = Annotated[int, InPath(ge=0, le=MAX_SAFE_INTEGER)]
Runs = Annotated[int, Query(ge=1, le=MAX_RUNS_PER_PAGE)]
Everybody = Annotated[
    bool,
    Query(
        alias="all",
        description="Also nodes that left, or hold no work and were not heard of for "
        f"{GONE_MS // 60_000} minutes: they are gone, and left out by default.",
    ),
]
Rows = Annotated[int, Query(ge=1, le=MAX_ROWS_PER_PAGE)]


def view_routes(api: FastAPI, lab: Lab, traffic: Traffic, mirrors: Path | None) -> None:
    """Add them. mirrors: the folder of this lab's mirrors of others."""
    _run_routes(api, lab)
    _ledger_routes(api, lab)
    _crowd_routes(api, lab)
    _status_routes(api, lab)
    _metrics_route(api, lab, traffic, mirrors)


def _run_routes(api: FastAPI, lab: Lab) -> None:
    @api.get("/runs", summary="Runs by their opening, a page from `start` on")
    async def runs(start: Start = 0, limit: Runs = MAX_RUNS_PER_PAGE) -> list[documents.RunView]:
        names = page(lab.orders.runs, start, limit)
        return await asyncio.to_thread(views.run_views, lab.state, lab.clock_ms(), names)

    @api.get(RUN_PATH, summary="One run")
    async def run(name: str) -> documents.RunView:
        return views.run_view(lab.state, _run(lab, name), lab.clock_ms())

    @api.get(RUN_PATH + "/opening", summary="How the run was opened, in its operator's words")
    async def opening(name: str) -> documents.Opening:
        return documents.Opening(opening=await lab.records.at(_run(lab, name).entry))

    @api.get(RUN_PATH + "/versions", summary="Publications of policy versions from `since` on")
    async def versions(name: str, since: Start = 0) -> list[documents.Sealed]:
        return list(await publications(lab.records, _run(lab, name), since))

    @api.get(RUN_PATH + "/updates/{version}", summary="What a version is made from")
    async def update(name: str, version: VersionNumber) -> documents.Inputs:
        found = _run(lab, name)
        made = views.programme_of(found).inputs(found, version)
        if made is None:
            raise Unknown(f"what version {version} of {name} was made from is not kept")
        grant, inputs = made
        return documents.Inputs(grant=await lab.records.at(grant), inputs=inputs)


def _ledger_routes(api: FastAPI, lab: Lab) -> None:
    @api.get(
        "/ledger/head",
        summary="The newest signed tree head (C2SP signed note)",
        response_class=PlainTextResponse,
    )
    async def head() -> PlainTextResponse:
        return PlainTextResponse(lab.log.head.note)

    @api.get("/ledger/entries", summary="Ledger entries, base64, a page from `start` on")
    async def entries(
        start: Start = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_ENTRIES_PER_PAGE)] = 100,
    ) -> list[str]:
        page = await asyncio.to_thread(lab.log.read, start, limit)
        return [base64.b64encode(entry).decode() for entry in page]


def _crowd_routes(api: FastAPI, lab: Lab) -> None:
    @api.get("/nodes", summary="Totals of the nodes that are here, a page from `start` on")
    async def nodes(
        start: Start = 0, limit: Rows = 1000, everybody: Everybody = False
    ) -> list[documents.NodeView]:
        state, now_ms = lab.state, lab.clock_ms()
        known = page(lab.orders.nodes, start, limit) if everybody else list(lab.orders.nodes)

        def shown() -> list[documents.NodeView]:
            dids = known
            if not everybody:
                dids = list(islice(here(state, known, lab.asked_ms, now_ms), start, start + limit))
            return views.node_views(state, now_ms, dids, lab.asked_ms)

        return await asyncio.to_thread(shown)

    @api.get("/nodes/{did}", summary="One node's totals")
    async def node(did: str) -> documents.NodeView:
        found = lab.state.nodes.get(did)
        if found is None:
            raise Unknown(f"no node {did!r:.80}")
        return views.node_view(lab.state, found, lab.clock_ms(), lab.asked_ms)

    @api.get("/keys/{did}", summary="What a key must know before it speaks")
    async def key(did: str) -> documents.KeyFacts:
        return views.key_view(lab.ahead, did, lab.clock_ms())

    @api.get("/leases", summary="Open leases, a page from `start` on")
    async def leases(start: Start = 0, limit: Rows = 1000) -> list[documents.LeaseView]:
        works = page(lab.orders.leases, start, limit)
        return await asyncio.to_thread(views.lease_views, lab.state, lab.clock_ms(), works)

    @api.get("/waits", summary="Which wait is blocking each run, and who owns it")
    async def waits() -> list[documents.Wait]:
        return await asyncio.to_thread(views.waits, lab.state, lab.clock_ms())


def _status_routes(api: FastAPI, lab: Lab) -> None:
    @api.get("/lab", summary="Who this lab is")
    async def who() -> documents.LabFacts:
        state, at = lab.state, lab.records.at
        named = state.successors
        return documents.LabFacts(
            lab=lab.identity.did,
            software=f"archipel {__version__}",
            operators=tuple(sorted(state.operators)),
            ledger_key=lab.log.key.to_text(),
            ledger_size=lab.log.size,
            founding=await at(0),
            joining=views.joining_facts(state),
            successions=tuple([await at(each.entry) for each in state.succeeded]),
            successors=None if named is None else await at(named.entry),
        )

    @api.get("/leader", summary="Whether this lab leads, where several share a ledger")
    async def leader() -> LeaderFacts:
        leads, term = lab.failure is None, lab.log.term
        if term is None:
            return LeaderFacts(leads=leads)
        return LeaderFacts(leads=leads, term=term.number, place=term.place)

    @api.get("/healthz", summary="Up, and able to go on", response_class=PlainTextResponse)
    async def health() -> PlainTextResponse:
        if lab.failure is not None:
            return PlainTextResponse("the lab cannot go on; start it again\n", status_code=503)
        return PlainTextResponse("ok\n")


def _metrics_route(api: FastAPI, lab: Lab, traffic: Traffic, mirrors: Path | None) -> None:
    @api.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        state = StateCollector(lab.state, lab.clock_ms(), lab.log.size, lab.asked_ms)
        leader = LeaderCollector(lab.log.term, leads=lab.failure is None)
        others = TrafficCollector(traffic), MeshCollector(lab.mesh), leader
        seen = [] if mirrors is None else await asyncio.to_thread(mirrors_in, mirrors)
        labs = MirrorCollector(seen, lab.clock_ms())
        text = await asyncio.to_thread(prometheus_text, state, *others, labs)
        return PlainTextResponse(text)


def _run(lab: Lab, name: str) -> Run:
    run: Run | None = lab.state.runs.get(name)
    if run is None:
        raise Unknown(f"no run {name!r:.80}; this lab has {sorted(lab.state.runs)[:8]}")
    return run
