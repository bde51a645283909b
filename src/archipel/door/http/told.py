"""How a future ended, as clients take it."""

import asyncio

from archipel.door.futures import Told as Ended
from archipel.door.http.asked import Called
from archipel.door.packed import outcome_of, sampled_of, unpack
from archipel.door.sampled import sampled_part, written_of
from archipel.door.wire import answers, bodies, replies
from archipel.door.wire.errors import Failure, Told
from archipel.door.wire.paths import read_path
from archipel.door.wire.reading import read
from archipel.training.tenants.operations import Scored, Stepped

LARGE_BYTES = 64 * 1024
"""An answer of so many is told by its size first, to whom that will do."""


async def retrieve_future(called: Called) -> Told:
    """The answer, once it is there; or that it is not yet, after half a minute."""
    asked, door = read(bodies.RetrieveFuture, called.body), called.door
    ended = await door.fetch(called.tenant.id, asked.request_id, door.means.bounds.poll_s)
    if ended is None:
        return answers.pending(asked.request_id)
    if asked.allow_metadata_only and len(ended.answer or b"") >= LARGE_BYTES:
        return answers.size_alone(len(ended.answer or b""))
    told = await asyncio.to_thread(end_of, ended, called.takes_protobuf)
    door.was_fetched(asked.request_id)
    return told


def end_of(ended: Ended, protobuf: bool) -> Told:
    """By its kind."""
    answer = ended.answer or b""
    if ended.state == "failed":
        return answers.failed(
            Failure(answer.decode(), "server" if ended.blame == "server" else "user")
        )
    if ended.kind == "sample":
        sampled = sampled_of(sampled_part(answer))
        return answers.sampled(written_of(answer).asked, sampled, protobuf)
    if ended.kind in ("forward", "forward_backward", "optim_step"):
        outcome = outcome_of(answer)
        if isinstance(outcome, Scored):
            return answers.scored(outcome, protobuf)
        if isinstance(outcome, Stepped):
            return answers.stepped(outcome)
        raise AssertionError("a refused operation is a failed future")
    return _saved(ended.kind, unpack(answer)[0])


def _saved(kind: str, said: dict[str, str]) -> Told:
    if kind == "create":
        return replies.model_made(said["model"])
    if kind == "unload":
        return replies.model_unloaded(said["model"])
    if kind == "load":
        return replies.weights_loaded(read_path(said["path"]), said["model"])
    path = read_path(said["path"]) if "path" in said else None
    if path is None:
        return replies.sampler_saved(None, said["sampling_session"])
    if kind == "save":
        return replies.weights_saved(path)
    if kind == "external":
        return replies.external_saved(path, int(said["num_bytes"]))
    return replies.sampler_saved(path)
