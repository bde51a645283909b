"""Doors of models, open behind a socket: one that is served, alone and as a pool, and one that trains."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from archipel.door.http.app import make_app
from archipel.door.keys import SCOPES
from archipel.door.wire import messages
from archipel.serve.access import Access
from archipel.serve.description import description as served_description
from archipel.serve.door import make_door
from archipel.serve.signed.keeping import Bounds, Signing
from fuzz import described, tenanted
from fuzz.at_work import AtWork, behind_a_socket
from fuzz.described import operations
from open_door import world as training_world
from people import identity

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
