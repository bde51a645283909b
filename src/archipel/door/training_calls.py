"""What is asked of sessions and models: from a question of the wire to a promise.

Law: a question is checked against its model and its records before it is promised, so a promise fails only by numbers that
were not finite, or by the hands.
"""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from archipel.door import checkpoints, futures, models, promising, recorded, sessions
from archipel.door.door import Door
from archipel.door.futures import Asking
from archipel.door.hands import ModelForm
from archipel.door.keys import Tenant
from archipel.door.models import Making
from archipel.door.packed import operation_bytes, pack
from archipel.door.promising import Promised
from archipel.door.refusals import Declined
from archipel.door.sequences import WITH_BEHAVIOUR
from archipel.door.wire import bodies, paths, training

MAX_SEED = 2**63 - 1


def digest_of(*parts: bytes) -> bytes:
    """By which the same question is known."""
    return hashlib.sha256(b"\0".join(parts)).digest()


async def session(door: Door, tenant: Tenant, asked: bodies.CreateSession, idem: str | None) -> str:
    """A new session's id. Raises Declined."""
    about = {
        "tags": asked.tags,
        "metadata": asked.user_metadata,
        "project": asked.project_id,
        "name": asked.display_name,
    }
    means = door.means
    sdk, now_ms = asked.sdk_version, means.now_ms()
    return await means.journal.do(sessions.make, tenant.id, about, sdk, idem, means.bounds, now_ms)


async def model(door: Door, tenant: Tenant, asked: bodies.CreateModel, body: bytes) -> Promised:
    """A new adapter. Raises Declined."""
    door.admitting.check(tenant, "train")
    door.base(asked.base_model)
    seed = asked.lora_config.seed
    form = ModelForm(
        asked.base_model,
        asked.lora_config.form,
        secrets.randbelow(2**31) if seed is None else seed & MAX_SEED,
    )
    making = Making(asked.session_id, asked.model_seq_id, form, asked.user_metadata or {})
    one = _asking(tenant, "create", "", 0, body, pack({}), asked.session_id)
    return await _made(door, tenant, making, one)


async def load(door: Door, tenant: Tenant, asked: bodies.LoadWeights, body: bytes) -> Promised:
    """A checkpoint into a model, or into a new one. Raises Declined."""
    door.admitting.check(tenant, "train")
    means, path = door.means, paths.read_path(asked.path)
    seq = asked.seq_id or 0
    place = asked.model_id or f"{asked.session_id}:train:{asked.model_seq_id}"
    known = await means.journal.look(
        futures.known_to, _asking(tenant, "load", place, seq, body, b"")
    )
    if known is not None:  # the checkpoint may be gone by now
        return Promised(known, False, place)
    row = await means.journal.look(checkpoints.by_path, tenant.id, at(path), means.now_ms())
    checkpoints.refused_kind(row, "weights", "training")
    said = {"path": asked.path, "folder": row["folder"], "optimiser": asked.optimizer}
    form = models.form_of_checkpoint(row)
    if asked.model_id is not None and asked.seq_id is not None:
        there = models.form_of(await means.journal.look(models.alive, tenant.id, asked.model_id))
        if (there.base, there.form) != (form.base, form.form):
            raise Declined(
                "impossible",
                f"{asked.path} is {form.form} over {form.base}, and this model is {there.form} over {there.base}",
            )
        one = _asking(tenant, "load", asked.model_id, asked.seq_id, body, pack(said))
        return await promise(door, tenant, one)
    if asked.base_model not in (None, form.base):
        raise Declined("impossible", f"{asked.path} lies over {form.base}, not {asked.base_model}")
    session, number = asked.session_id or "", asked.model_seq_id or 0
    making = Making(session, number, form, asked.user_metadata or {})
    return await _made(
        door, tenant, making, _asking(tenant, "load", "", 0, body, pack(said), session)
    )


async def train(door: Door, tenant: Tenant, asked: training.Asked) -> Promised:
    """forward_backward, or forward. Raises Declined."""
    means, operation = door.means, asked.operation
    row = await means.journal.look(models.alive, tenant.id, asked.model)
    base = door.base(row["base"])
    training.fit(asked, base.max_context_length, base.vocab_size)
    kind = "forward" if operation.forward_only else "forward_backward"
    # Not of the bytes as they came: a map's fields may be written in another order the second time.
    sent = await asyncio.to_thread(operation_bytes, operation)
    one = _asking(tenant, kind, asked.model, asked.seq_id, sent, sent)
    known = await means.journal.look(futures.known_to, one)
    if known is not None:
        return Promised(known, False, asked.model)
    with door.admitting.place(tenant, "train", asked.num_tokens):
        used: set[str] = set()
        if operation.loss in WITH_BEHAVIOUR:
            may_be_foreign = "foreign-samples" in tenant.scopes
            data, used = await means.journal.look(
                recorded.believed,
                tenant.id,
                operation,
                asked.provenance,
                may_be_foreign,
                means.now_ms(),
            )
            believed = replace(operation, data=data)
            one = replace(one, question=await asyncio.to_thread(operation_bytes, believed))
        return await promise(door, tenant, one, used, asked.num_tokens)


async def step(door: Door, tenant: Tenant, asked: bodies.OptimStepBody, body: bytes) -> Promised:
    """optim_step. Raises Declined."""
    door.admitting.check(tenant, "train")
    question = operation_bytes(asked.operation)
    one = _asking(tenant, "optim_step", asked.model_id, asked.seq_id, body, question)
    return await promise(door, tenant, one)


async def save(
    door: Door,
    tenant: Tenant,
    asked: bodies.SaveWeights | bodies.SaveWeightsForSampler | bodies.SaveWeightsExternal,
    body: bytes,
) -> Promised:
    """save_weights, and its kin for sampling and for taking away. Raises Declined."""
    door.admitting.check(tenant, "train")
    said: dict[str, Any] = {}
    if not isinstance(asked, bodies.SaveWeightsExternal):
        said["about"] = json.dumps(asked.user_metadata or {})
    if asked.path is not None:
        said["name"] = paths.checkpoint_name(asked.path)
    if asked.ttl_seconds is not None:
        said["expires_ms"] = door.means.now_ms() + asked.ttl_seconds * 1000
    if isinstance(asked, bodies.SaveWeights):
        kind, said["overwrite"] = "save", asked.overwrite
    elif isinstance(asked, bodies.SaveWeightsExternal):
        kind = "external"
    else:
        kind = "publish"
        if asked.sampling_session_seq_id is not None:
            said["sampler"] = asked.sampling_session_seq_id
    one = _asking(tenant, kind, asked.model_id, asked.seq_id, body, pack(said))
    return await promise(door, tenant, one)


async def unload(door: Door, tenant: Tenant, name: str) -> Promised:
    """A model's memory is given back; the promise is kept at once. Raises Declined."""
    door.admitting.check(tenant, "train")
    means = door.means
    await means.journal.look(models.found, tenant.id, name)
    await door.end_model(name)
    place = f"{name}:unload"
    one = _asking(tenant, "unload", place, 0, name.encode(), pack({}))
    ended = futures.Ending(0, pack({"model": name}))
    future = await means.journal.do(futures.at_once, one, ended, means.bounds, means.now_ms())
    return Promised(future, False, name)


async def promise(
    door: Door,
    tenant: Tenant,
    one: Asking,
    used: "set[str] | frozenset[str]" = frozenset(),
    num_tokens: int = 0,
) -> Promised:
    """An operation of a model that is there, on the disk. Raises Declined."""
    means = door.means
    given = await means.journal.do(promising.of_model, one, used, means.bounds, means.now_ms())
    _begun(door, tenant, given, num_tokens, door.driving.nudge)
    return given


async def _made(door: Door, tenant: Tenant, making: Making, one: Asking) -> Promised:
    means = door.means
    given = await means.journal.do(
        promising.of_new_model, making, one, means.bounds, means.now_ms()
    )
    _begun(door, tenant, given, 0, door.driving.nudge)
    return given


def _begun(
    door: Door, tenant: Tenant, given: Promised, num_tokens: int, nudge: Callable[[str], None]
) -> None:
    if given.is_new:
        door.admitting.waits(tenant.id, given.future, num_tokens)
        nudge(given.place)


def _asking(  # noqa: PLR0913  the columns of its table
    tenant: Tenant, kind: str, place: str, seq: int, body: bytes, question: bytes, session: str = ""
) -> Asking:
    return Asking(tenant.id, session, kind, place, seq, digest_of(kind.encode(), body), question)


def at(path: paths.CheckpointPath) -> tuple[str, str, str]:
    """Model, kind and name, as the journal has them."""
    return path.model, path.id.partition("/")[0], path.name
