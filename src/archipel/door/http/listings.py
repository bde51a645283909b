"""What there is: sessions, models, samplers, checkpoints and use, each tenant's own."""

import sqlite3
from datetime import UTC, datetime

from archipel.door import checkpoints, listing, samplers, sessions
from archipel.door import models as door_models
from archipel.door.http.asked import Called
from archipel.door.training_calls import at
from archipel.door.wire import answers, bodies, paths, replies
from archipel.door.wire import listings as there
from archipel.door.wire.errors import Told
from archipel.door.wire.reading import Page, read, read_fields
from archipel.records.adapter import AdapterForm

MANY = 100
"""Rows of a page of checkpoints or sessions, where nobody says how many."""
DAY_MS = 86_400_000
USAGE_DAYS = 31


def _page(called: Called, limit: int = 20) -> Page:
    return read_fields(Page, called.query).of(limit)


async def sessions_list(called: Called) -> Told:
    """Ids."""
    page, look = _page(called), called.door.means.journal.look
    found = await look(sessions.listed, called.tenant.id, page.limit, page.offset)
    return there.sessions([row["id"] for row in found])


async def session(called: Called) -> Told:
    """One."""
    look = called.door.means.journal.look
    row = await look(sessions.found, called.tenant.id, called.parts["session"])
    return there.session(await look(listing.session_of, row, called.tenant.name))


async def search_sessions(called: Called) -> Told:
    """By id, by words of the name, by metadata."""
    asked, look = read(bodies.SearchSessions, called.body), called.door.means.journal.look
    found = await look(
        listing.sessions_like,
        called.tenant.id,
        called.tenant.name,
        (asked.session_id, asked.display_name, asked.user_metadata),
        asked.limit,
    )
    return there.sessions_found(found)


async def training_runs(called: Called) -> Told:
    """Models, a page."""
    page, look = _page(called), called.door.means.journal.look
    found, total = await look(door_models.listed, called.tenant.id, page.limit, page.offset)
    made = [await look(listing.run_of, row, called.tenant.name) for row in found]
    return there.training_runs(made, page, total)


async def training_run(called: Called) -> Told:
    """One."""
    look = called.door.means.journal.look
    row = await look(door_models.found, called.tenant.id, called.parts["model"])
    return answers.said((await look(listing.run_of, row, called.tenant.name)).row)


async def get_info(called: Called) -> Told:
    """Of a model."""
    asked = read(bodies.ModelNamed, called.body)
    row = await called.door.means.journal.look(door_models.found, called.tenant.id, asked.model_id)
    rank = AdapterForm.model_validate_json(row["form"]).rank
    return replies.model_info(asked.model_id, called.door.base(row["base"]), rank)


async def sampler(called: Called) -> Told:
    """One."""
    look, now_ms = called.door.means.journal.look, called.door.means.now_ms()
    row = await look(samplers.found, called.tenant.id, called.parts["sampler"])
    weights = await look(samplers.weights, row, now_ms)
    path = None if weights is None else paths.read_path(checkpoints.path_of(weights))
    return replies.sampler(row["id"], row["base"], path)


async def checkpoints_list(called: Called) -> Told:
    """A tenant's, a page."""
    page, look = _page(called, MANY), called.door.means.journal.look
    found, total = await look(checkpoints.listed, called.tenant.id, None, page.limit, page.offset)
    return there.checkpoints([listing.checkpoint_of(row) for row in found], page, total)


async def model_checkpoints(called: Called) -> Told:
    """A model's, all."""
    look, model = called.door.means.journal.look, called.parts["model"]
    await look(door_models.found, called.tenant.id, model)
    most = called.door.means.bounds.checkpoints
    found, _ = await look(checkpoints.listed, called.tenant.id, model, most, 0)
    return there.checkpoints([listing.checkpoint_of(row) for row in found])


async def weights_info(called: Called) -> Told:
    """What a checkpoint lies over, and its form."""
    asked, means = read(bodies.WeightsInfo, called.body), called.door.means
    place = at(paths.read_path(asked.tinker_path))
    row: sqlite3.Row = await means.journal.look(
        checkpoints.by_path, called.tenant.id, place, means.now_ms()
    )
    form = AdapterForm.model_validate_json(row["form"])
    return replies.weights_info(row["base"], form.rank, form.targets)


async def key_info(called: Called) -> Told:
    """Whose key this is, and for what."""
    tenant = called.tenant
    said = {"name": tenant.name, "key": tenant.key, "scopes": sorted(tenant.scopes)}
    return answers.said({"type": "apikey", "user": tenant.name} | said)


async def usage_events(called: Called) -> Told:
    """Tokens of the last month by hour, kind and base model."""
    called.door.admitting.check(called.tenant, "usage")
    now_ms = called.door.means.now_ms()
    hours = called.door.admitting.usage(called.tenant, now_ms - USAGE_DAYS * DAY_MS, now_ms + 1)
    found = [
        {
            "time": datetime.fromtimestamp(each.start_ms / 1000, UTC).isoformat(),
            "key": each.key,
            "kind": each.kind,
            "model": each.model,
            "calls": each.calls,
            "tokens": each.num_tokens,
        }
        for each in hours
    ]
    return answers.said({"events": found, "cursor": None})
