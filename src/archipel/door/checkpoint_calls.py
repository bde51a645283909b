"""What owners do with their checkpoints: publish, end, delete, take away."""

import asyncio
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from archipel.door import checkpoints
from archipel.door.bounds import lasts_until
from archipel.door.door import Door
from archipel.door.keys import Tenant
from archipel.door.refusals import Declined
from archipel.door.training_calls import at
from archipel.door.wire import paths

ARCHIVE = "archive.tar"
LASTS_S = 3600
"""Of an address of files."""


@dataclass(frozen=True)
class Files:
    """Of an adapter, in PEFT's layout."""

    folder: str
    names: tuple[str, ...]


def ends_s(door: Door) -> int:
    """When addresses that are made now end, in Unix seconds."""
    return door.means.now_ms() // 1000 + LASTS_S


async def publish(door: Door, tenant: Tenant, parts: Mapping[str, str], *, is_public: bool) -> None:
    """Whether others may read it. Raises Declined."""
    door.admitting.check(tenant, "publish")
    row = await _own(door, tenant, parts)
    await door.means.journal.do(checkpoints.publish, row["id"], is_public=is_public)


async def expire(door: Door, tenant: Tenant, parts: Mapping[str, str], ttl_s: int | None) -> None:
    """When it ends; None: never. Raises Declined."""
    door.admitting.check(tenant, "checkpoints")
    row = await _own(door, tenant, parts)
    until = lasts_until(ttl_s, door.means.now_ms())
    await door.means.journal.do(checkpoints.expire, row["id"], until)


async def delete(door: Door, tenant: Tenant, parts: Mapping[str, str]) -> None:
    """It goes; what samples from it now may end. Raises Declined."""
    door.admitting.check(tenant, "checkpoints")
    row = await _own(door, tenant, parts)
    await door.means.journal.do(checkpoints.delete, row["id"])


async def files(door: Door, tenant: Tenant, parts: Mapping[str, str]) -> Files:
    """What can be taken away. Raises Declined."""
    door.admitting.check(tenant, "checkpoints")
    row = await _own(door, tenant, parts)
    if row["kind"] == "weights":
        raise Declined(
            "impossible",
            f"{checkpoints.path_of(row)} is a state of training; save the model for sampling, and take that away",
        )
    folder = door.means.folders.path(row["folder"])
    names = await asyncio.to_thread(lambda: tuple(sorted(each.name for each in folder.iterdir())))
    return Files(row["folder"], names)


async def _own(door: Door, tenant: Tenant, parts: Mapping[str, str]) -> sqlite3.Row:
    path = paths.checkpoint_id(parts["model"], parts["checkpoint"])
    return await door.means.journal.look(checkpoints.own, tenant.id, at(path), door.means.now_ms())
