"""Who takes part in pretraining in the tests: members and a merger with real keys, honest until told to lie; and what
must hold of such a run in every state.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from archipel.lab.programmes import pretrain
from archipel.lab.state import OPEN_PHASES, LabState, Phase, Run
from archipel.records.canonical import sha256_digest
from archipel.records.documents import AcceptedWork, inputs_digest
from archipel.records.kinds.inner_step import InnerStepAnswer, InnerStepSpec
from archipel.records.kinds.merge import MergeAnswer, MergeSpec, Verdict
from archipel.records.pretraining import (
    MAX_CONTRIBUTIONS,
    CorpusPace,
    GatePace,
    InnerPace,
    MergePace,
    OuterPace,
    PayloadPace,
)
from archipel.records.programmes.pretrain import PretrainPace
from archipel.records.statements import LeaseGranted, ModelFile, RunOpened
from archipel.records.terms import Terms
from archipel.records.words import WorkAnswer
from people import Learner, Provider, identity, ref

if TYPE_CHECKING:
    from world import World

PAYLOAD_BYTES = 64
OUTER_TERMS = {
    "versions": 3,
    "evaluate_every": 100,
    "checkpoint_every": 2,
    "keep_versions": 64,
    "trusted_deadline_ms": 3_600_000,
}
PRICE_MICRO = 1000
GATE = GatePace(sequences=4, share_micro=250_000, step_micro=1_000_000)
OUTER_PACE: dict[str, Any] = {
    "members": 3,
    "seed": 7,
    "steps": 10,
    "min_steps": 2,
    "commit_every": 4,
    "corpus": CorpusPace(
        manifest=ref(b"manifest of text"),
        shards=(ref(b"shard 0"), ref(b"shard 1")),
        sequence_length=8,
        batch=2,
        epochs=1,
    ),
    "inner": InnerPace(
        optimiser="adamw",
        learning_rate_nano=1_000_000,
        rest_factor_micro=1_000_000,
        warmup_steps=0,
        schedule="cosine",
        final_micro=100_000,
        beta1_micro=900_000,
        beta2_micro=950_000,
        momentum_micro=900_000,
        weight_decay_micro=100_000,
        clip_micro=1_000_000,
        micro_batch_tokens=16_384,
        state="kept",
    ),
    "payload": PayloadPace(codec="int8", size=PAYLOAD_BYTES),
    "outer": OuterPace(optimiser="nesterov", learning_rate_micro=700_000, momentum_micro=900_000),
    "min_deadline_ms": 1000,
    "slack_milli": 4000,
    "price_micro": PRICE_MICRO,
}
MERGE: dict[str, Any] = {
    "aggregate": "mean",
    "faulty": 0,
    "clip": True,
    "quorum": 2,
    "deadline_milli": 3000,
    "late": "drop",
}


def outer_pace(**given: Any) -> PretrainPace:
    """`given`: fields of the pace, or of its `merge`."""
    merge = MergePace(
        **(MERGE | {key: given.pop(key) for key in list(given) if key in MERGE or key == "gate"})
    )
    return PretrainPace(**(OUTER_PACE | given), merge=merge)


def open_outer(world: "World", name: str = "outer", **given: Any) -> Run:
    """A run of pretraining; `given`: its terms, or as in `outer_pace`."""
    terms = {key: given.pop(key, value) for key, value in OUTER_TERMS.items()}
    for data in (b"manifest of text", b"shard 0", b"shard 1"):
        world.put(data)
    world.speak(
        world.operator,
        RunOpened,
        run=name,
        recipe=world.put(f"recipe of {name}".encode()),
        terms=Terms(**terms),
        pace=outer_pace(**given),
        model=(ModelFile(name="config.json", blob=world.put(b"{}")),),
        trusted=(identity("merger").did,),
    )
    return world.run(name)


def outer_started(world: "World", name: str = "outer", **given: Any) -> "Merger":
    """A run at version 0, and its merger."""
    open_outer(world, name, **given)
    merger = Merger(world, identity("merger"))
    merger.join()
    while merger.work() is not None:  # version 0, and its evaluation
        pass
    return merger


def member(world: "World", name: str) -> "Member":
    """A node that has joined."""
    made = Member(world, identity(name))
    made.join()
    return made


@dataclass
class Member(Provider):
    """A node that trains: its payloads follow from version and index."""

    kinds: tuple[str, ...] = ("inner_step",)

    def answer_kind(self, grant: LeaseGranted) -> type[WorkAnswer]:
        return InnerStepAnswer

    def words(self, grant: LeaseGranted) -> dict[str, Any]:
        spec = grant.spec
        assert isinstance(spec, InnerStepSpec)
        pace = pretrain.pace(self.world.run(spec.run))
        said = f"{spec.policy}/{spec.index}/{self.did}".encode()
        payload = (said * PAYLOAD_BYTES)[-PAYLOAD_BYTES:]
        states = range(pace.commitments_of(spec.steps))
        return {
            "policy": spec.policy,
            "steps": spec.steps,
            "num_tokens": spec.steps * pace.tokens_per_step,
            "payload": self.put(payload),
            "commitments": tuple(ref(f"{n} of {said!r}".encode()).digest for n in states),
            "metrics": {"loss_micro": 2_000_000},
            "busy_ms": 5,
        }


@dataclass
class Merger(Learner):
    """The trusted role: its weights follow from what it merged."""

    kinds: tuple[str, ...] = ("merge", "evaluate")
    refuses: dict[str, str] = field(default_factory=dict)
    """Node -> why its contributions are refused."""
    merged: list[tuple[int, tuple[int, int]]] = field(default_factory=list)
    """(version made, (version, index) of a contribution that is in it)"""

    def answer_kind(self, grant: LeaseGranted) -> type[WorkAnswer]:
        return MergeAnswer if isinstance(grant.spec, MergeSpec) else super().answer_kind(grant)

    def version_fields(self, grant: LeaseGranted) -> dict[str, Any]:
        spec = grant.spec
        assert isinstance(spec, MergeSpec)
        run = self.world.run(spec.run)
        works = pretrain.inputs(run)
        assert spec.inputs == (inputs_digest(works) if spec.version else None)
        verdicts = tuple(self._verdict(run, each) for each in works)
        kept = [each for each, said in zip(works, verdicts, strict=True) if said.merged]
        is_void = bool(spec.version) and not kept
        self.merged += [
            (spec.version, (each.spec.version, each.spec.index))  # type: ignore[attr-defined]  # contributions
            for each in kept
        ]
        learned = [each.answer.payload.digest for each in kept]  # type: ignore[attr-defined]  # contributions
        weights = f"weights {spec.version} of {spec.parent} after {learned}".encode()
        every = run.opened.terms.checkpoint_every
        is_saved = not is_void and spec.version > 0 and spec.version % every == 0
        return {
            "version": spec.version,
            "parent": spec.parent,
            "policy": spec.parent if is_void else sha256_digest(weights),
            "manifest": self.put(b"manifest of " + weights),
            "anchor": None if is_void else self.put(weights),
            "delta": None,
            "memory": self.put(b"memory of " + weights) if is_saved else None,
            "verdicts": verdicts,
            "metrics": {"loss_micro": 2_000_000},
            "void": True if is_void else None,
        } | self._gate(run, spec, is_void)

    def _verdict(self, run: Run, each: AcceptedWork) -> Verdict:
        node = pretrain.course(run).contributions[each.work].node
        reason = self.refuses.get(node)
        return Verdict(work=each.work, weight_micro=0 if reason else 500_000, reason=reason)  # type: ignore[arg-type]  # a story's

    def _gate(self, run: Run, spec: MergeSpec, is_void: bool) -> dict[str, Any]:
        if pretrain.pace(run).merge.gate is None:
            return {}
        is_last = spec.version == run.opened.terms.versions and not is_void
        tries = pretrain.course(run).counts.void
        text, following = (f"text {spec.version + tries + n}".encode() for n in (0, 1))
        return {
            "gate": self.put(text) if spec.version or tries else None,
            "next_gate": None if is_last else ref(following).digest,
        }


def check_outer(state: LabState, run: Run) -> None:
    """1 every index in one place  2 leases  3 money: what is held is promised, what is paid was merged  4 bounds"""
    slice_, pace = pretrain.course(run), pretrain.pace(run)
    leases = {work: each for work, each in state.leases.items() if each.spec.run == run.name}
    # 1
    held, answered, behind = slice_.held, slice_.answered, slice_.behind
    assert not held.keys() & answered.keys()
    assert {*held, *answered} <= set(range(pace.members))
    assert len(set(answered.values())) == len(answered)
    late = pretrain.late(run)
    taken = slice_.merging.works if slice_.merging else ()
    if slice_.merging:
        assert not held
        assert len(taken) == len(set(taken)) <= MAX_CONTRIBUTIONS
    assert {*answered.values(), *late, *taken} == set(slice_.contributions)
    places = [slice_.contributions[work].place for work in slice_.contributions]
    assert len(set(places)) == len(places), "an index of a version was answered twice"
    for index, each in held.items():
        assert (each.index, each.version) == (index, run.version)
    # 2
    assert set(run.leases) == set(leases)
    inner = {work for work, each in leases.items() if isinstance(each.spec, InnerStepSpec)}
    assert {each.work for each in held.values()} | set(behind) == inner
    for each in (*held.values(), *behind.values()):
        lease = leases[each.work]
        assert (lease.node, lease.granted_at_ms) == (each.node, each.granted_at_ms)
    if pace.merge.late == "drop":
        assert not behind or slice_.merging is None
    # 3
    promised = sum(each.price_micro for each in leases.values())
    withheld = sum(each.withheld_micro for each in slice_.contributions.values())
    assert state.book.get(f"held:{run.name}", 0) == promised + withheld
    assert slice_.due == ()
    counts = slice_.counts
    gone = counts.merged + sum(counts.refused.values())
    if run.phase in OPEN_PHASES or run.leases:
        assert counts.answered == gone + len(slice_.contributions)
    else:
        assert not any((slice_.contributions, slice_.made, slice_.memory, slice_.gates))
    if pace.audit is None:  # who audits is paid, too
        assert run.paid_micro <= counts.answered * pace.price_micro
    # 4
    assert run.version <= run.opened.terms.versions
    assert (run.phase is Phase.COMPLETE) <= (run.version == run.opened.terms.versions)
    if run.phase is Phase.COMPLETE:
        assert not behind or run.leases


def merged_once(merger: Merger) -> None:
    """No contribution is in two versions, and no version has one of another's index and version twice."""
    again = [place for place, times in Counter(p for _, p in merger.merged).items() if times > 1]
    assert not again, f"merged twice: {again}"
