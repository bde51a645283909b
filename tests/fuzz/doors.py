"""Every door that answers strangers over HTTP, open behind a socket on 127.0.0.1, with something in it.

Parts: `AtWork` (an open door), `DOORS` (all of them but the lab's own, which `openapi` drives with signed bodies).
Law: a route that a door has and its description does not name is a failure of the campaign.
"""

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from archipel.blobs import BlobStore
from archipel.cli.lab_pages import routes as lab_pages
from archipel.connections import Connections, guarded
from archipel.door.http.app import make_app
from archipel.door.keys import SCOPES
from archipel.door.wire import messages
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
from archipel.serve.access import Access
from archipel.serve.description import description as served_description
from archipel.serve.door import make_door
from archipel.serve.signed.keeping import Bounds, Signing
from fuzz import described, tenanted
from fuzz.described import Operation, described_in, operations
from open_door import world as training_world
from people import identity, ref
from world import World

OWN_FORM = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "unsupported_method", "allow_header_conformance"),
)
"""Of doors that describe themselves. Left out: that what is not described is refused; clients of models send many
fields that are passed over."""
NO_DEFECT = ("not_a_server_error",)
"""Of doors that we describe here."""
ENDLESS: frozenset[Operation] = frozenset({("GET", "/pages/events")})
"""An answer that never ends, so nothing waits for it; tests/dashboard/test_pages.py hears it."""


@dataclass(frozen=True)
class AtWork:
    """An open door."""

    url: str
    routes: frozenset[Operation]
    description: Mapping[str, Any]
    describes_itself: bool = False
    """At /openapi.json, word for word."""
    headers: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Of fields and parameters: what is there."""
    bodies: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    """Sound ones, by media type."""
    full: tuple[int, ...] = ()
    """Statuses from 500 on that it documents."""

    @property
    def forgotten(self) -> set[Operation]:
        """Routes that are not fuzzed."""
        return set(self.routes) - described_in(self.description) - ENDLESS

    @property
    def there(self) -> dict[str, Any]:
        """For the hooks."""
        encoded = {
            media: [base64.b64encode(each).decode() for each in words]
            for media, words in self.bodies.items()
        }
        return {"names": dict(self.names), "bodies": encoded}


@asynccontextmanager
async def behind_a_socket(app: Starlette) -> AsyncIterator[str]:
    """Its URL while the block lasts; what it raises is logged, as in `defects_logged`."""
    config = uvicorn.Config(
        app,
        http=guarded(Connections(1000, 1000)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server._serve([listener]))
        while not server.started:  # noqa: ASYNC110  uvicorn offers no event for it
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


MODEL_NAMES: dict[str, Sequence[Any]] = {
    "model": ["tiny"],
    "name": ["tiny"],
    "max_tokens": [1, 3],
    "max_output_tokens": [1, 3],
    "num_predict": [1, 3],
    "role": ["user", "assistant", "system"],
}
USUAL_TOKENS = 16
"""Of an answer that names no bound: a long one on a busy machine is no hang."""


def model_door(served: Mapping[str, Any]) -> tuple[Starlette, dict[str, Any]]:
    """A door whose answers are signed, and how it describes itself."""
    signing = Signing(identity("signer"), Bounds())
    app = make_door(served, Access(), signing=signing)
    return app, served_description(app.routes)  # type: ignore[arg-type]  # all of them are


@asynccontextmanager
async def a_model(folder: Path) -> AsyncIterator[AtWork]:
    """A small model by itself."""
    from archipel.engine.capacity import EngineLimits
    from archipel.serve.served import How, serve_folder
    from archipel.work.folders import folder_of
    from serve.served_models import NOW, tiny_model

    how = How("tiny", EngineLimits(max_cache_bytes=2**26), usual_tokens=USUAL_TOKENS)
    one = await asyncio.to_thread(
        lambda: serve_folder(folder_of(tiny_model(folder / "tiny")), how, NOW)
    )
    try:
        async with _models({"tiny": one}) as open_:
            yield open_
    finally:
        await asyncio.to_thread(one.desk.close)


@asynccontextmanager
async def a_pool(folder: Path) -> AsyncIterator[AtWork]:
    """A small model over two devices."""
    from archipel.serve.pool.serving import serve_pool
    from serve.pool_world import World as Pool
    from serve.served_models import tiny_model

    pool = Pool(tiny_model(folder / "tiny", num_layers=2))
    one = await asyncio.to_thread(
        serve_pool, "tiny", pool.path, pool.engine, USUAL_TOKENS, 1_800_000_000
    )
    try:
        for name in ("north", "south"):
            await asyncio.to_thread(pool.join, name, 1)
        async with _models({"tiny": one}) as open_:
            yield open_
    finally:
        await asyncio.to_thread(one.desk.close)
        await asyncio.to_thread(pool.close)


@asynccontextmanager
async def _models(served: Mapping[str, Any]) -> AsyncIterator[AtWork]:
    app, said = model_door(served)
    async with behind_a_socket(app) as url:
        routes = frozenset(operations(app.routes))
        yield AtWork(url, routes, said, describes_itself=True, names=MODEL_NAMES)


@asynccontextmanager
async def training(folder: Path) -> AsyncIterator[AtWork]:
    """A training door with a tenant that trains, samples and keeps checkpoints."""
    async with training_world(folder) as one:
        client = await one.client("ada", SCOPES)
        model, sampler = await client.model(), await client.sampler(0)
        saved = await client.post("save_weights", {"model_id": model, "seq_id": 1, "path": "a"})
        path = (await client.end_of(saved["request_id"]))["path"]
        app = make_app(one.door)
        ids = {"model": model, "model_id": model, "session": client.session, "sampler": sampler}
        ids |= {"session_id": client.session, "sampling_session_id": sampler}
        ids |= {"base_model": next(iter(one.door.served)), "checkpoint": "weights/a"}
        ids |= {"request_id": saved["request_id"], "path": path, "model_path": path}
        names: dict[str, Sequence[Any]] = {name: [value] for name, value in ids.items()}
        names |= {"tinker_path": [path], "timeout": [0.1], "seq_id": list(range(2, 40))}
        async with behind_a_socket(app) as url:
            yield AtWork(
                url,
                frozenset(operations(app.routes)),
                described.of_training(app.routes),
                headers={"X-API-Key": client.key},
                names=names,
                bodies={messages.MEDIA_TYPE: [tenanted._request()]},
                full=(503,),
            )


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


DOORS: Mapping[str, Callable[[Path], AbstractAsyncContextManager[AtWork]]] = {
    "model": a_model,
    "pool": a_pool,
    "training": training,
    "pages": pages,
    "follower": a_follower,
    "witness": a_witness,
    "node": a_nodes_door,
}
