"""Doors around a lab, open behind a socket: its pages, one that follows it, a witness of its heads, a node that passes on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from archipel.blobs import BlobStore
from archipel.cli.lab_pages import routes as lab_pages
from archipel.identity import Identity
from archipel.lab.api import make_api
from archipel.lab.following import Follower, follower_app
from archipel.lab.witness_door import witness_app
from archipel.ledger.growing import GrowingLog
from archipel.ledger.leadership import Leader
from archipel.ledger.log import Log
from archipel.ledger.merkle import leaf_hash, root_of
from archipel.ledger.storage import Term
from archipel.ledger.tree_head import sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.ledger.witness import Witness, submission
from archipel.node.blob_door import BlobDoor
from archipel.node.sharing import Shared
from fuzz import described
from fuzz.at_work import ENDLESS, AtWork, behind_a_socket
from fuzz.described import Operation, described_in, operations
from people import identity, ref
from world import World


def pages_app(world: World, chronicle: Path) -> tuple[Starlette, set[Operation]]:
    """A lab with all that it shows people, as its command wires it; and those routes that its description leaves out."""
    from archipel.lab.look_source import LabSource

    api = make_api(world.lab)
    shown = lab_pages(LabSource(world.lab), chronicle, now_ms=world.lab.clock_ms)
    api.router.routes.extend(shown)
    return api, operations(api.routes) - described_in(api.openapi())


@asynccontextmanager
async def pages(folder: Path) -> AsyncIterator[AtWork]:
    """The pages of a lab, its log-in, and its description."""
    from dashboard.pages_world import pages_world

    found = await asyncio.to_thread(pages_world, folder / "lab", 3, 4)
    state = found.world.state
    names: dict[str, Sequence[Any]] = {
        "runs": list(state.runs),
        "nodes": list(state.nodes),
        "operators": list(state.nodes),
        "market": list(state.runs),
        "ledger": [0, 1, state.size - 1],
        "number": [0, 1, state.size - 1],
        "name": ["pages.css", "pages.js"],
        "by": ["joined", "share"],
        "start": [0, 1],
    }
    app, routes = pages_app(found.world, found.path)
    try:
        async with behind_a_socket(app) as url:
            said = described.of_pages(routes - ENDLESS)
            yield AtWork(url, frozenset(routes), said, names=names)
    finally:
        await asyncio.to_thread(found.close)


class _Led:
    """A watch that always sees somebody lead."""

    def look(self) -> Leader:
        return LEADER

    def close(self) -> None:
        """Nothing to let go of."""


LEADER = Leader(Term(4, "http://a:8440"), is_here=True)


def follower_door(world: World) -> Starlette:
    """Of a lab that another one leads."""

    def never() -> Log:
        raise AssertionError("nobody may lead now")

    growing = GrowingLog(lambda: world.storage, world.lab.log.key)  # type: ignore[arg-type, return-value]  # enough of one
    follower = Follower(world.state.lab, _Led(), growing, world.blobs, never)
    follower.leader = LEADER
    return follower_app(follower)


@asynccontextmanager
async def a_follower(folder: Path) -> AsyncIterator[AtWork]:
    """It refuses all but three addresses with 503, as it says."""
    world = await asyncio.to_thread(World)
    app = follower_door(world)
    routes = operations(app.routes)
    try:
        async with behind_a_socket(app) as url:
            yield AtWork(url, frozenset(routes), described.description(routes), full=(503,))
    finally:
        await asyncio.to_thread(world.close)


CHECKPOINT = "text/x-checkpoint"
"""What the fuzzer calls a witness's question; a witness asks for no name."""
LAB = Identity.from_seed(bytes(31) + bytes([7]))


def witness_door(folder: Path) -> tuple[Starlette, Witness]:
    """It signs heads of one log."""
    key = lab_key(LAB.did)
    sworn = Witness(folder, "example.com/w", identity("w"), {key.name: key}, lambda: 1_800_000_000)
    return witness_app(sworn), sworn


@asynccontextmanager
async def a_witness(folder: Path) -> AsyncIterator[AtWork]:
    """It is asked for signatures on heads, sound, spoilt and forked."""
    app, sworn = witness_door(folder / "witness")
    routes = operations(app.routes)
    entries = [b"entry %d" % number for number in range(9)]
    heads = [
        sign_tree_head(LAB, lab_key(LAB.did).name, size, root_of(entries[:size])).note
        for size in (1, 4, 9)
    ]
    asked = [submission(0, (), head) for head in heads]
    asked.append(submission(1, (leaf_hash(b"x"),), heads[1]))
    said = described.description(routes, media=dict.fromkeys(routes, CHECKPOINT))
    try:
        async with behind_a_socket(app) as url:
            yield AtWork(url, frozenset(routes), said, bodies={CHECKPOINT: asked})
    finally:
        sworn.close()


BLOBS: Operation = ("GET", "/blobs/{digest}")
BLOB = bytes(range(256)) * 1000


@asynccontextmanager
async def a_nodes_door(folder: Path) -> AsyncIterator[AtWork]:
    """The one route of a node that lets others fetch from it."""
    store = BlobStore(folder / "blobs", is_lasting=False)
    store.put_bytes(BLOB)
    shared = Shared(store)
    shared.publish(ref(BLOB).digest, len(BLOB))
    door = BlobDoor(shared, "127.0.0.1", 0, 10**9)
    range_ = {"type": "string", "pattern": "^bytes=[0-9]{1,6}-[0-9]{1,6}$"}
    said = described.description([BLOBS], asked={BLOBS: {"header Range": range_}})
    async with door.open():
        assert door.serving is not None
        url = f"http://127.0.0.1:{door.serving.port}"
        yield AtWork(url, frozenset([BLOBS]), said, names={"digest": [ref(BLOB).digest]})
