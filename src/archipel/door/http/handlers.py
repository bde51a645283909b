"""A function for every call of `wire.calls`: read, ask the door, say."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from archipel.door import checkpoint_calls, samplers, sampling_calls, sessions, training_calls
from archipel.door.http import listings
from archipel.door.http.asked import Called
from archipel.door.http.told import retrieve_future
from archipel.door.promising import Promised
from archipel.door.wire import answers, bodies, messages, replies, sampling, training
from archipel.door.wire import listings as there
from archipel.door.wire.errors import Told
from archipel.door.wire.reading import read
from archipel.door.wire.unpacking import unpacked

Handler = Callable[[Called], Awaitable[Told]]


async def client_config(called: Called) -> Told:
    """How clients go about it here."""
    read(bodies.ClientConfig, called.body)
    most = called.door.means.bounds.futures_waiting
    return replies.client_config(min(replies.MAX_AT_ONCE, most // 2))


async def dynamic_config(called: Called) -> Told:
    """The same while they run."""
    return replies.dynamic_config()


async def capabilities(called: Called) -> Told:
    """What can be trained and sampled."""
    return replies.capabilities(list(called.door.served.values()))


async def telemetry(called: Called) -> Told:
    """Neither read nor kept."""
    return answers.said({"status": "accepted"})


async def create_session(called: Called) -> Told:
    """A new one."""
    asked = read(bodies.CreateSession, called.body)
    made = await training_calls.session(called.door, called.tenant, asked, called.idempotency_key)
    return replies.session_made(made)


async def session_heartbeat(called: Called) -> Told:
    """It goes on."""
    asked, means = read(bodies.SessionHeartbeat, called.body), called.door.means
    await means.journal.do(sessions.beat, called.tenant.id, asked.session_id, means.now_ms())
    return replies.heartbeat()


async def finish_session(called: Called) -> Told:
    """It ends."""
    asked = read(bodies.FinishSession, called.body)
    await called.door.end_session(called.tenant.id, called.parts["session"], asked.reason.type)
    return answers.nothing()


def _promised(given: Promised) -> Told:
    return answers.promised(given.future, model=given.place)


async def create_model(called: Called) -> Told:
    """A new adapter."""
    asked = read(bodies.CreateModel, called.body)
    return _promised(await training_calls.model(called.door, called.tenant, asked, called.body))


async def unload_model(called: Called) -> Told:
    """Its memory is given back."""
    asked = read(bodies.ModelNamed, called.body)
    return _promised(await training_calls.unload(called.door, called.tenant, asked.model_id))


async def forward_backward(called: Called) -> Told:
    """In protobuf, or the older clients' JSON."""
    return await _train(called, forward_only=False)


async def forward(called: Called) -> Told:
    """The older clients' own call."""
    return await _train(called, forward_only=True)


async def _train(called: Called, *, forward_only: bool) -> Told:
    is_message = messages.MEDIA_TYPE in called.headers.get("content-type", "").lower()
    encoding = called.headers.get("content-encoding", "")

    def asked() -> training.Asked:
        body = unpacked(called.body, encoding)
        return training.read_message(body) if is_message else training.read_json(body, forward_only)

    question = await asyncio.to_thread(asked)
    return _promised(await training_calls.train(called.door, called.tenant, question))


async def optim_step(called: Called) -> Told:
    """One step."""
    asked = read(bodies.OptimStepBody, called.body)
    return _promised(await training_calls.step(called.door, called.tenant, asked, called.body))


def _saving(
    form: type[bodies.SaveWeights | bodies.SaveWeightsForSampler | bodies.SaveWeightsExternal],
) -> Handler:
    async def save(called: Called) -> Told:
        asked = read(form, called.body)
        given = await training_calls.save(called.door, called.tenant, asked, called.body)
        return _promised(given)

    return save


async def load_weights(called: Called) -> Told:
    """Into a model, or a new one."""
    asked = read(bodies.LoadWeights, called.body)
    return _promised(await training_calls.load(called.door, called.tenant, asked, called.body))


async def create_sampling_session(called: Called) -> Told:
    """A sampler."""
    asked = read(bodies.CreateSamplingSession, called.body)
    made = await sampling_calls.sampler(called.door, called.tenant, asked)
    return replies.sampling_session_made(made)


async def join_sampling_session(called: Called) -> Told:
    """One more client of it."""
    asked = read(bodies.JoinSamplingSession, called.body)
    do = called.door.means.journal.do
    return replies.joined(await do(samplers.joined, called.tenant.id, asked.sampling_session_id))


async def asample(called: Called) -> Told:
    """Completions of a prompt."""
    longest = max(each.max_context_length for each in called.door.served.values())
    asked = await asyncio.to_thread(sampling.read_sample, called.body, longest)
    given, sequences = await sampling_calls.sample(called.door, called.tenant, asked, called.body)
    return answers.promised(given.future, sequences=sequences)


async def retrieve_futures(called: Called) -> Told:
    """Which of a sampler's have ended."""
    asked = read(bodies.RetrieveFutures, called.body)
    return replies.completions(*await sampling_calls.ended(called.door, called.tenant, asked))


async def cancel_future(called: Called) -> Told:
    """A sample is no longer wanted."""
    asked = read(bodies.CancelFuture, called.body)
    await sampling_calls.cancel(called.door, called.tenant, asked.request_id)
    return answers.nothing()


async def publish_checkpoint(called: Called) -> Told:
    """Others may read it."""
    await checkpoint_calls.publish(called.door, called.tenant, called.parts, is_public=True)
    return answers.nothing()


async def unpublish_checkpoint(called: Called) -> Told:
    """Others may no longer."""
    await checkpoint_calls.publish(called.door, called.tenant, called.parts, is_public=False)
    return answers.nothing()


async def checkpoint_ttl(called: Called) -> Told:
    """When it ends."""
    asked = read(bodies.SetTtl, called.body)
    await checkpoint_calls.expire(called.door, called.tenant, called.parts, asked.ttl_seconds)
    return answers.nothing()


async def delete_checkpoint(called: Called) -> Told:
    """It goes."""
    await checkpoint_calls.delete(called.door, called.tenant, called.parts)
    return answers.nothing()


async def checkpoint_archive(called: Called) -> Told:
    """Where its files are, as one."""
    found = await checkpoint_calls.files(called.door, called.tenant, called.parts)
    ends_s = checkpoint_calls.ends_s(called.door)
    path = called.links.path(found.folder, checkpoint_calls.ARCHIVE, ends_s)
    return there.archive(called.origin + path, ends_s)


async def checkpoint_files(called: Called) -> Told:
    """Where each of its files is."""
    found = await checkpoint_calls.files(called.door, called.tenant, called.parts)
    ends_s = checkpoint_calls.ends_s(called.door)
    urls = {
        name: called.origin + called.links.path(found.folder, name, ends_s) for name in found.names
    }
    return there.files(urls, ends_s)


async def healthz(called: Called) -> Told:
    """It is there."""
    return answers.said({"status": "ok"})


HANDLERS: Mapping[str, Handler] = {
    "healthz": healthz,
    "client_config": client_config,
    "dynamic_config": dynamic_config,
    "capabilities": capabilities,
    "telemetry": telemetry,
    "key_info": listings.key_info,
    "create_session": create_session,
    "session_heartbeat": session_heartbeat,
    "finish_session": finish_session,
    "sessions": listings.sessions_list,
    "search_sessions": listings.search_sessions,
    "session": listings.session,
    "create_model": create_model,
    "get_info": listings.get_info,
    "unload_model": unload_model,
    "training_runs": listings.training_runs,
    "training_run": listings.training_run,
    "forward_backward": forward_backward,
    "forward": forward,
    "optim_step": optim_step,
    "save_weights": _saving(bodies.SaveWeights),
    "save_weights_for_sampler": _saving(bodies.SaveWeightsForSampler),
    "save_weights_external": _saving(bodies.SaveWeightsExternal),
    "load_weights": load_weights,
    "weights_info": listings.weights_info,
    "checkpoints": listings.checkpoints_list,
    "model_checkpoints": listings.model_checkpoints,
    "publish_checkpoint": publish_checkpoint,
    "unpublish_checkpoint": unpublish_checkpoint,
    "checkpoint_ttl": checkpoint_ttl,
    "checkpoint_archive": checkpoint_archive,
    "checkpoint_files": checkpoint_files,
    "delete_checkpoint": delete_checkpoint,
    "create_sampling_session": create_sampling_session,
    "join_sampling_session": join_sampling_session,
    "sampler": listings.sampler,
    "asample": asample,
    "retrieve_future": retrieve_future,
    "retrieve_futures": retrieve_futures,
    "cancel_future": cancel_future,
    "usage_events": listings.usage_events,
}
"""By the name of the call."""
