"""Every kind of bad input that a lab's door must refuse, each with the problem it is refused as."""

from array import array
from collections.abc import Callable
from typing import Any

import httpx

from archipel.identity import sign
from archipel.ledger.log import MAX_ENTRY_BYTES
from archipel.records.canonical import canonical_json
from archipel.records.kinds.evaluate import EvaluateAnswer
from archipel.records.kinds.update import UpdateAnswer
from archipel.records.rollouts import Rollout, pack_rollouts
from archipel.records.statements import (
    RECORD_TYPE,
    BlobOffered,
    LeaseExpired,
    LeaseRequested,
    LeaseReturned,
    ModelFile,
    NodeLeft,
    NodesForgotten,
    RunOpened,
    RunStopped,
    SnapshotTaken,
    WorkAnswered,
)
from people import EOS, VOCAB, Provider, envelope, identity, ref
from scene import Scene

NOBODY = "sha256:" + "0" * 64
Lie = Callable[[Scene], httpx.Response]


def first(value: float) -> Callable[[array], array]:
    """The same tensor with another first value."""
    return lambda tensor: array(tensor.typecode, [value, *tensor[1:]])


def signed_record(scene: Scene) -> bytes:
    return envelope(
        scene.liar.identity,
        scene.world.statement(
            scene.liar.identity, LeaseReturned, work=scene.grant.work, reason="no"
        ),
    )


def raw(scene: Scene, payload: bytes) -> httpx.Response:
    """Whatever bytes, properly signed."""
    return scene.door.say(sign(scene.liar.identity, payload, RECORD_TYPE).to_json())


def forged(scene: Scene) -> httpx.Response:
    data = bytearray(signed_record(scene))
    place = data.index(b'"sig":"') + 12
    data[place] = ord("A") if data[place] != ord("A") else ord("B")
    return scene.door.say(bytes(data))


def other_author(scene: Scene) -> httpx.Response:
    statement = scene.world.statement(
        scene.honest.identity, LeaseReturned, work=scene.kept.work, reason="not mine to say"
    )
    return scene.door.say(envelope(scene.liar.identity, statement))


def short(scene: Scene) -> httpx.Response:
    groups = scene.liar.sampled(scene.grant)[:-1]
    data = pack_rollouts(groups, work=scene.grant.work, policy=scene.grant.spec.policy)
    return scene.payload(data)


def opened(scene: Scene, author: Provider | None = None, **lies: Any) -> httpx.Response:
    said = scene.world.run().opened
    fields = {name: getattr(said, name) for name in ("run", "recipe", "terms", "pace")}
    fields |= {"model": said.model, "trusted": said.trusted}
    return scene.say(RunOpened, author, **(fields | lies))


def operator(scene: Scene) -> Provider:
    return Provider(scene.world, scene.world.operator)


def deep(levels: int) -> bytes:
    return b'{"a":' + b"[" * levels + b"]" * levels + b"}"


LIES: dict[str, tuple[str, Lie]] = {
    "truncated envelope": ("malformed-record", lambda s: s.door.say(signed_record(s)[:-9])),
    "no JSON": ("malformed-record", lambda s: s.door.say(b"\xff\x00{")),
    "empty body": ("malformed-record", lambda s: s.door.say(b"")),
    "JSON of another form": ("malformed-record", lambda s: s.door.say(b'{"a":1}')),
    "spaces in JSON": ("malformed-record", lambda s: s.door.say(signed_record(s) + b" ")),
    "unknown kind": ("malformed-record", lambda s: raw(s, canonical_json({"kind": "x"}))),
    "statement with spaces": ("malformed-record", lambda s: raw(s, b'{"kind": "x"}')),
    "half a surrogate pair": ("malformed-record", lambda s: raw(s, b'{"kind":"\\ud800"}')),
    "bottomless nesting": ("malformed-record", lambda s: raw(s, deep(20_000))),
    "nesting at the limit": ("malformed-record", lambda s: raw(s, deep(900))),
    "oversized envelope": ("too-large", lambda s: s.door.say(b"x" * (MAX_ENTRY_BYTES + 1))),
    "wrongly signed": ("bad-signature", forged),
    "wrong author": ("bad-signature", other_author),
    "wrong lab": ("wrong-lab", lambda s: s.result(lab=identity("elsewhere").did)),
    "replayed": ("replayed-record", lambda s: s.door.say(s.said)),
    "older number": ("replayed-record", lambda s: s.result(seq=1)),
    "duplicate": (
        "duplicate-result",
        lambda s: s.say(WorkAnswered, **s.liar.answer_fields(s.answered)),
    ),
    "late": (
        "late-result",
        lambda s: s.say(WorkAnswered, **s.liar.answer_fields(s.late)),
    ),
    "unknown work": ("not-found", lambda s: s.result(work="run.999")),
    "another's lease": ("not-your-lease", lambda s: s.result(work=s.kept.work)),
    "giving back another's lease": (
        "not-your-lease",
        lambda s: s.say(LeaseReturned, work=s.kept.work, reason="ha"),
    ),
    "not joined": (
        "not-joined",
        lambda s: s.say(NodeLeft, Provider(s.world, identity("stranger"))),
    ),
    "request of a stranger": (
        "not-joined",
        lambda s: s.door.ask(Provider(s.world, identity("stranger")).request()),
    ),
    "wrong policy": ("wrong-policy", lambda s: s.result(policy=NOBODY)),
    "blob that nobody sent": ("missing-blob", lambda s: s.result(result=ref(b"never sent"))),
    "oversized result": ("too-large", lambda s: s.payload(b"x" * 10_000)),
    "truncated payload": ("bad-payload", lambda s: s.payload(s.packed()[:-3])),
    "payload of noise": ("bad-payload", lambda s: s.payload(b"\xff" * 100)),
    "payload of other work": ("wrong-label", lambda s: s.payload(s.packed(work="run.77"))),
    "payload of other weights": ("wrong-label", lambda s: s.payload(s.packed(policy=NOBODY))),
    "one group too few": ("wrong-shape", short),
    "other count of tokens": ("wrong-shape", lambda s: s.result(num_tokens=1)),
    "goes on after a stop": (
        "wrong-shape",
        lambda s: s.one_rollout(lambda r: Rollout((EOS, 5, EOS), (-1.0, -1.0, -1.0), True)),
    ),
    "ends without reason": (
        "wrong-shape",
        lambda s: s.one_rollout(lambda r: Rollout((5,), (-1.0,), False)),
    ),
    "flag against tokens": (
        "wrong-shape",
        lambda s: s.one_rollout(lambda r: Rollout((5, EOS), (-1.0, -1.0), False)),
    ),
    "too long": (
        "wrong-shape",
        lambda s: s.one_rollout(lambda r: Rollout((5,) * 6, (-1.0,) * 6, False)),
    ),
    "empty rollout": ("wrong-shape", lambda s: s.one_rollout(lambda r: Rollout((), (), True))),
    "NaN": ("not-finite", lambda s: s.tensors(logprobs=first(float("nan")))),
    "infinity": ("not-finite", lambda s: s.tensors(logprobs=first(float("-inf")))),
    "probability above 1": ("out-of-range", lambda s: s.tensors(logprobs=first(0.5))),
    "token beyond the vocabulary": ("out-of-range", lambda s: s.tensors(tokens=first(VOCAB))),
    "negative token": ("out-of-range", lambda s: s.tensors(tokens=first(-1))),
    "flag of 2": ("out-of-range", lambda s: s.tensors(finished=first(2))),
    "what only the lab says": (
        "not-allowed",
        lambda s: s.say(LeaseExpired, work=s.kept.work, cause="deadline"),
    ),
    "request where a record belongs": (
        "malformed-record",
        lambda s: s.say(LeaseRequested, kinds=("rollout",), holding=()),
    ),
    "record where a request belongs": ("malformed-record", lambda s: s.door.ask(signed_record(s))),
    "offer where a record belongs": (
        "not-allowed",
        lambda s: s.say(BlobOffered, blob=ref(b"x"), work=None),
    ),
    "weights for rollout work": (
        "conflict",
        lambda s: s.say(
            WorkAnswered,
            work=s.grant.work,
            answer=UpdateAnswer(
                version=1,
                parent=None,
                policy=NOBODY,
                manifest=ref(b"m"),
                anchor=ref(b"a"),
                delta=None,
                memory=None,
                prompts=(),
                metrics={},
            ),
        ),
    ),
    "an evaluation for rollout work": (
        "conflict",
        lambda s: s.say(
            WorkAnswered,
            work=s.grant.work,
            answer=EvaluateAnswer(version=0, policy=NOBODY, report=ref(b"r"), metrics={}),
        ),
    ),
    "forgetting nodes": (
        "not-allowed",
        lambda s: s.say(NodesForgotten, nodes=(s.honest.did,)),
    ),
    "a snapshot of a stranger": (
        "not-allowed",
        lambda s: s.say(SnapshotTaken, format=1, size=1, state=ref(b"x")),
    ),
    "a number that leaves none to others": (
        "replayed-record",
        lambda s: s.result(seq=2**53 - 1),
    ),
    "run by no operator": ("not-allowed", lambda s: opened(s, run="mine")),
    "run of the same name": ("conflict", lambda s: opened(s, operator(s))),
    "run without its files": (
        "missing-blob",
        lambda s: opened(
            s, operator(s), run="new", model=(ModelFile(name="a", blob=ref(b"none")),)
        ),
    ),
    "stop of an unknown run": (
        "not-found",
        lambda s: s.say(RunStopped, operator(s), run="nope", reason=""),
    ),
    "stop by no operator": ("not-allowed", lambda s: s.say(RunStopped, run="run", reason="")),
    "upload without a lease": (
        "not-allowed",
        lambda s: s.door.upload(s.liar.identity, b"data", None),
    ),
    "upload for another's lease": (
        "not-your-lease",
        lambda s: s.door.upload(s.liar.identity, b"data", s.kept.work),
    ),
    "upload for no lease": (
        "not-found",
        lambda s: s.door.upload(s.liar.identity, b"data", "run.999"),
    ),
    "upload too large": (
        "too-large",
        lambda s: s.door.upload(s.liar.identity, b"x" * 10_000, s.grant.work),
    ),
    "upload of other bytes": (
        "wrong-digest",
        lambda s: s.door.upload(s.liar.identity, b"data", s.grant.work, sent=b"atad"),
    ),
    "upload of more bytes": (
        "too-large",
        lambda s: s.door.upload(s.liar.identity, b"data", s.grant.work, sent=b"data and more"),
    ),
    "upload of fewer bytes": (
        "conflict",
        lambda s: s.door.upload(s.liar.identity, b"data", s.grant.work, sent=b"dat"),
    ),
    "offer for another blob": (
        "wrong-digest",
        lambda s: s.door.request(
            "PUT",
            f"/blobs/{NOBODY}",
            headers=s.door.offer(s.liar.identity, b"data", s.grant.work),
            content=b"data",
        ),
    ),
    "offer that is no record": (
        "malformed-record",
        lambda s: s.door.request(
            "PUT", f"/blobs/{NOBODY}", headers={"Archipel-Offer": "////"}, content=b""
        ),
    ),
    "no offer": ("invalid-request", lambda s: s.door.request("PUT", f"/blobs/{NOBODY}")),
    "unknown run": ("not-found", lambda s: s.door.get("/runs/nope")),
    "unknown blob": ("not-found", lambda s: s.door.get(f"/blobs/{NOBODY}")),
    "name that is no digest": ("not-found", lambda s: s.door.get("/blobs/sha256:abc")),
    "name that leads elsewhere": ("http-error", lambda s: s.door.get("/blobs/..%2F..%2Fetc")),
    "unknown path": ("http-error", lambda s: s.door.get("/nowhere")),
    "other method": ("http-error", lambda s: s.door.request("DELETE", "/runs")),
    "endless wait": ("invalid-request", lambda s: s.door.ask(b"", 1e9)),
}
