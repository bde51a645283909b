"""What is asked of samplers: from a question of the wire to a promise, and which of them have ended."""

import asyncio
import secrets
from dataclasses import dataclass

from archipel.door import checkpoints, futures, promising, samplers, sessions
from archipel.door.door import Door
from archipel.door.futures import Asking
from archipel.door.hands import ServedModel
from archipel.door.keys import Tenant
from archipel.door.packed import Spoilt
from archipel.door.promising import Promised
from archipel.door.refusals import Declined
from archipel.door.sampled import Written, written_bytes, written_of
from archipel.door.training_calls import digest_of
from archipel.door.wakes import until
from archipel.door.wire import bodies, paths
from archipel.door.wire import sampling as wire

MAX_COMPLETIONS = 1000
"""Of one answer to retrieve_futures."""


@dataclass(frozen=True)
class Source:
    """What is sampled from."""

    base: str
    checkpoint: str | None


async def sampler(door: Door, tenant: Tenant, asked: bodies.CreateSamplingSession) -> str:
    """A sampling session's id. Raises Declined."""
    door.admitting.check(tenant, "sample")
    means = door.means
    source = await _source(door, tenant, asked.base_model, asked.model_path)
    at = (asked.session_id, asked.sampling_session_seq_id)
    return await means.journal.do(
        samplers.make,
        tenant.id,
        at,
        source.base,
        source.checkpoint,
        means.bounds,
        means.now_ms(),
    )


async def sample(
    door: Door, tenant: Tenant, asked: wire.Asked, body: bytes
) -> tuple[Promised, tuple[str, ...]]:
    """The promise, and the ids of its sequences. Raises Declined."""
    means = door.means
    if asked.session is not None:
        row = await means.journal.look(samplers.found, tenant.id, asked.session)
        await means.journal.look(sessions.alive, tenant.id, row["session"])
        source = Source(row["base"], row["checkpoint"])
    else:
        source = await _source(door, tenant, asked.base_model, asked.model_path)
    base = door.base(source.base)
    max_tokens = wire.fit(asked, base.max_context_length, base.vocab_size)
    num_tokens = len(asked.prompt) + asked.num_samples * max_tokens
    written = _written(asked, body, source, base, max_tokens)
    one = Asking(
        tenant.id,
        asked.session or "",
        "sample",
        asked.session or secrets.token_hex(16),
        asked.seq_id or 0,
        digest_of(b"sample", body),
        await asyncio.to_thread(written_bytes, written),
    )
    with door.admitting.place(tenant, "sample", num_tokens):
        given = await means.journal.do(promising.of_sampler, one, means.bounds, means.now_ms())
        if given.is_new:
            door.admitting.waits(tenant.id, given.future, num_tokens)
            door.sampling.nudge(tenant.id, given.future)
            return given, written.sequence_ids
    try:
        return given, written_of(given.question).sequence_ids
    except Spoilt:  # it failed, so there is no sequence under any id
        return given, written.sequence_ids


async def ended(
    door: Door, tenant: Tenant, asked: bodies.RetrieveFutures
) -> tuple[list[tuple[str, int | None]], int]:
    """Which of a sampler's samples ended since a cursor: (future, bytes of its answer or None), and the next cursor."""
    means, target = door.means, asked.target
    now_ms = means.now_ms()
    await means.journal.look(samplers.found, tenant.id, target.sampling_session_id)
    if asked.retrieved_request_ids:
        await means.journal.do(futures.let_go, tenant.id, asked.retrieved_request_ids, now_ms)
    first = target.cloned_sampler_id * samplers.CLONED
    wait_s = (
        means.bounds.poll_s if asked.timeout is None else min(asked.timeout, means.bounds.poll_s)
    )
    deadline_s = asyncio.get_running_loop().time() + wait_s
    place, seqs = target.sampling_session_id, (first, first + samplers.CLONED)
    event = means.wakes.listen(place)
    try:
        while True:
            event.clear()
            rows = await means.journal.look(
                futures.ended_since, place, seqs, asked.prev_cursor, MAX_COMPLETIONS
            )
            if rows or means.wakes.is_closed or not await until(event, deadline_s):
                break
    finally:
        means.wakes.leave(place, event)
    found = [(row["id"], row["answer_bytes"] if row["state"] == "done" else None) for row in rows]
    return found, rows[-1]["number"] if rows else asked.prev_cursor


async def cancel(door: Door, tenant: Tenant, future: str) -> None:
    """A sample is no longer wanted. Raises Declined: it is not there."""
    means = door.means
    if await means.journal.do(futures.cancel, tenant.id, future, means.now_ms()):
        door.sampling.cancel(future)
        means.wakes.wake((future,))


async def _source(door: Door, tenant: Tenant, base: str | None, model_path: str | None) -> Source:
    if model_path is None:
        return Source(door.base(base or "").name, None)
    path = paths.read_path(model_path)
    if path.kind != "sampler":
        raise Declined(
            "impossible",
            f"{model_path[:200]} is for training; sample from what save_weights_for_sampler gave",
        )
    at, now_ms = (path.model, "sampler_weights", path.name), door.means.now_ms()
    row = await door.means.journal.look(checkpoints.by_path, tenant.id, at, now_ms)
    return Source(row["base"], row["id"])


def _written(
    asked: wire.Asked, body: bytes, source: Source, base: ServedModel, max_tokens: int
) -> Written:
    end_tokens = base.end_tokens if asked.ends_itself else ()
    seed = asked.params.seed
    return Written(
        asked,
        body,
        source.base,
        source.checkpoint,
        max_tokens,
        secrets.randbelow(2**63) if seed is None else seed,
        tuple(dict.fromkeys((*asked.stop_tokens, *end_tokens))),
        tuple(secrets.token_hex(16) for _ in range(asked.num_samples)),
    )
