"""A run whose weights are a few bytes: what its operator opens and its learner publishes, and the shapes.

Everything is valid by the lab's rules and says nothing: no model is read and nothing is learned. What a
lab does for a run depends on the number and size of its records, not on what was trained.
"""

import asyncio
import base64
import time
from dataclasses import dataclass, field
from typing import Any

from archipel.bench.lab_wire import Reply, Voice, Wire, refer
from archipel.identity import Envelope
from archipel.records.document import read_document
from archipel.records.documents import Asked, Handout, Have, HeldRun, Submitted
from archipel.records.fields import BlobRef
from archipel.records.kinds.evaluate import EvaluateAnswer, EvaluateSpec
from archipel.records.kinds.update import PromptBatch, UpdateAnswer, UpdateSpec
from archipel.records.parcel import MEDIA_TYPE, pack_parcel, unpack_parcel
from archipel.records.programmes.rl import RlPace
from archipel.records.prompts import pack_prompts
from archipel.records.rollouts import Rollout, pack_rollouts
from archipel.records.statement import Statement
from archipel.records.statements import (
    BlobOffered,
    Capabilities,
    LeaseGranted,
    LeaseRequested,
    ModelFile,
    NodeJoined,
    RunOpened,
    WorkAnswered,
    decode,
)
from archipel.records.terms import Terms

RUN = "load"
VERSIONS = 1_000_000
EOS = 2
GROUP_SIZE = 2
NEW_TOKENS = 8
TERMS = Terms(
    versions=VERSIONS,
    evaluate_every=VERSIONS,
    checkpoint_every=10,
    keep_versions=4,
    trusted_deadline_ms=60_000,
)
ENVELOPE_TYPE = "application/json"
LEARNER_WAIT_S = 10.0


class Unexpected(RuntimeError):
    """The lab answered other than it must here."""


def pace(groups: int, max_staleness: int = 1) -> RlPace:
    """One group a lease."""
    return RlPace(
        groups_per_update=groups,
        group_size=GROUP_SIZE,
        max_staleness=max_staleness,
        seed=7,
        vocab_size=64,
        max_new_tokens=NEW_TOKENS,
        temperature_micro=1_000_000,
        stop_tokens=(EOS,),
        max_groups_per_lease=1,
        min_deadline_ms=60_000,
        slack_milli=4000,
        price_micro=1000,
    )


def capabilities(kinds: tuple[str, ...]) -> Capabilities:
    """What a light node says of itself."""
    return Capabilities(
        kinds=kinds,
        engine="archipel",
        device="cpu",
        software="bench",
        speed_milli=0,
        batch_invariant=True,
        protections=(),
    )


def rollouts(work: str, policy: str, num_groups: int, salt: int) -> tuple[bytes, int]:
    """(payload, tokens) of an answer that a lab accepts; another for each `salt`."""
    tokens = tuple(3 + (salt + step) % 60 for step in range(NEW_TOKENS))
    one = Rollout(tokens, tuple(-0.5 - 0.01 * step for step in range(NEW_TOKENS)), finished=False)
    groups = [[one] * GROUP_SIZE] * num_groups
    payload = pack_rollouts(groups, work=work, policy=policy)
    return payload, num_groups * GROUP_SIZE * NEW_TOKENS


def granted(handout: Handout) -> LeaseGranted:
    """The lease inside; its signature is not checked: this measures the lab."""
    statement = decode(Envelope.from_json(handout.grant.encode()).payload)
    if not isinstance(statement, LeaseGranted):
        raise Unexpected(f"a handout holds {statement.kind}")
    return statement


def read_handout(reply: Reply) -> Handout | None:
    """The lease that an answer to a request brings."""
    if reply.status == 204:
        return None
    if reply.status != 200:
        raise Unexpected(f"{reply.status}: {reply.body[:200].decode(errors='replace')}")
    return read_document(Handout, unpack_parcel(reply.body)[0])


def request_for_work(voice: Voice, kinds: tuple[str, ...], version: int) -> Asked:
    """A signed request, by who has seen everything up to `version`."""
    sealed = voice.say(LeaseRequested, kinds=kinds, holding=()).decode()
    have = Have()
    if version >= 0:
        have = Have(runs={RUN: HeldRun(opening=True, version=version, weights=version)})
    return Asked(request=sealed, have=have)


def submission(record: bytes, blobs: tuple[bytes, ...], following: Asked | None) -> bytes:
    """A parcel for /records."""
    document = Submitted(record=record.decode(), next=following)
    return pack_parcel(document.model_dump_json().encode(), blobs)


async def open_run(
    wire: Wire, operator: Voice, groups: int, learner: str, max_staleness: int = 1
) -> None:
    """Upload what a run needs and open it."""
    recipe, config = (
        await upload(wire, operator, b"no recipe"),
        await upload(wire, operator, b"{}"),
    )
    await say(
        wire,
        operator,
        RunOpened,
        run=RUN,
        recipe=recipe,
        terms=TERMS,
        pace=pace(groups, max_staleness),
        model=(ModelFile(name="config.json", blob=config),),
        trusted=(learner,),
    )


async def say(wire: Wire, voice: Voice, kind: type[Statement], **fields: Any) -> Reply:
    """One statement by itself."""
    reply = await wire.send("POST /records", voice.say(kind, **fields), media_type=ENVELOPE_TYPE)
    if reply.status != 200:
        raise Unexpected(f"{reply.status}: {reply.body[:200].decode(errors='replace')}")
    return reply


async def upload(wire: Wire, operator: Voice, data: bytes) -> BlobRef:
    """A blob, by who may open runs."""
    blob = refer(data)
    offer = base64.b64encode(operator.say(BlobOffered, blob=blob, work=None)).decode()
    reply = await wire.send(f"PUT /blobs/{blob.digest}\nArchipel-Offer: {offer}", data)
    if reply.status not in (200, 201, 204):
        raise Unexpected(f"{reply.status}: {reply.body[:200].decode(errors='replace')}")
    return blob


@dataclass
class Learner:
    """The trusted role: publishes a version when a batch is whole, not sooner than `period_s`."""

    voice: Voice
    wire: Wire
    groups: int
    period_s: float
    sent: dict[int, float] = field(default_factory=dict)
    """Version -> monotonic second at which its publication was sent."""
    told: dict[int, float] = field(default_factory=dict)
    """Version -> monotonic second of its receipt."""
    max_staleness: int = 1
    anchors: dict[int, BlobRef] = field(default_factory=dict)
    """Version -> its weights, where they are at the lab already; others are a few bytes, sent along."""
    _kinds: tuple[str, ...] = ("update", "evaluate")

    async def live(self) -> None:
        """Until cancelled."""
        await say(self.wire, self.voice, NodeJoined, capabilities=capabilities(self._kinds))
        due = time.monotonic()
        while True:
            asked = request_for_work(self.voice, self._kinds, VERSIONS)
            reply = await self.wire.send(
                f"POST /leases?wait_s={LEARNER_WAIT_S}",
                pack_parcel(asked.model_dump_json().encode(), ()),
                media_type=MEDIA_TYPE,
            )
            handout = read_handout(reply)
            if handout is None:
                continue
            grant = granted(handout)
            if isinstance(grant.spec, UpdateSpec):
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                due = max(due + self.period_s, time.monotonic())
                await self._publish(grant.work, grant.spec)
            elif isinstance(grant.spec, EvaluateSpec):
                await self._report(grant.work, grant.spec)

    async def _publish(self, work: str, spec: UpdateSpec) -> None:
        version, name = spec.version, f"version {spec.version}".encode()
        manifest, anchor, memory = b"manifest of " + name, name, b"memory of " + name
        is_saved = version > 0 and version % TERMS.checkpoint_every == 0
        last = version + self.max_staleness
        batches = range(0 if version == 0 else last, last + 1)
        prompts = [
            pack_prompts(
                [(1, 3 + batch % 60, 3 + row % 60) for row in range(self.groups)], batch=batch
            )
            for batch in batches
        ]
        answer = UpdateAnswer(
            version=version,
            parent=spec.parent,
            policy=refer(name).digest,
            manifest=refer(manifest),
            anchor=self.anchors.get(version, refer(anchor)),
            delta=None,
            memory=refer(memory) if is_saved else None,
            prompts=tuple(
                PromptBatch(batch=batch, blob=refer(data))
                for batch, data in zip(batches, prompts, strict=True)
            ),
            metrics={"reward_micro": 500_000},
        )
        sent = () if version in self.anchors else (anchor,)
        blobs = (manifest, *sent, *([memory] if is_saved else []), *prompts)
        self.sent[version] = time.monotonic()
        await self._submit(work, answer, blobs)
        self.told[version] = time.monotonic()

    async def _report(self, work: str, spec: EvaluateSpec) -> None:
        report = f"report on {spec.version}".encode()
        answer = EvaluateAnswer(
            version=spec.version, policy=spec.policy, report=refer(report), metrics={}
        )
        await self._submit(work, answer, (report,))

    async def _submit(
        self, work: str, answer: UpdateAnswer | EvaluateAnswer, blobs: tuple[bytes, ...]
    ) -> None:
        record = self.voice.say(WorkAnswered, work=work, answer=answer)
        body = submission(record, blobs, None)
        reply = await self.wire.send("POST /records", body, media_type=MEDIA_TYPE)
        if reply.status != 200:
            raise Unexpected(f"{reply.status}: {reply.body[:200].decode(errors='replace')}")
