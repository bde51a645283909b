"""Who deals with a lab in the tests: providers and learners with real keys, honest until told to lie."""

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from archipel.identity import Identity, sign
from archipel.lab.audits import audits
from archipel.lab.handouts import Receipt
from archipel.lab.programmes import rl
from archipel.lab.state import Run
from archipel.records.canonical import sha256_digest
from archipel.records.documents import AcceptedWork, inputs_digest
from archipel.records.fields import BlobRef
from archipel.records.kinds.audit import AuditAnswer, AuditSpec, Difference
from archipel.records.kinds.evaluate import EvaluateAnswer, EvaluateSpec
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.kinds.update import PromptBatch, UpdateAnswer, UpdateSpec
from archipel.records.measures import Measured
from archipel.records.programmes.rl import RlPace
from archipel.records.prompts import pack_prompts
from archipel.records.rollouts import Rollout, pack_rollouts
from archipel.records.statements import (
    RECORD_TYPE,
    Capabilities,
    LeaseGranted,
    LeaseRequested,
    LeaseReturned,
    NodeJoined,
    NodeLeft,
    Statement,
    WorkAnswered,
    encode,
)
from archipel.records.words import WorkAnswer

if TYPE_CHECKING:
    from world import World

EOS = 2
VOCAB = 16


def identity(name: str) -> Identity:
    """The same key for the same name, in every run of the tests."""
    return Identity.from_seed(sha256_digest(name.encode()).encode()[-32:])


def ref(data: bytes) -> BlobRef:
    return BlobRef(digest=sha256_digest(data), size=len(data))


def envelope(author: Identity, statement: Statement) -> bytes:
    return sign(author, encode(statement), RECORD_TYPE).to_json()


@dataclass
class Provider:
    """A node; `lie` fields of its answers as the story wants."""

    world: "World"
    identity: Identity
    speed_milli: int = 0
    kinds: tuple[str, ...] = ("rollout",)
    leases: dict[str, LeaseGranted] = field(default_factory=dict)
    exact: tuple[str, ...] = ()
    memory_mb: int | None = None
    plays: tuple[str, ...] = ()
    says: str = ""
    """What it says of every answer that it audits, whatever it is; empty: the truth."""
    backends: tuple[str, ...] = ()
    engine: str = "archipel"
    classes: tuple[str, ...] = ()
    odd: str = ""
    """A figure, or all, that it finds at its limit in every answer that it measures and finds right."""

    @property
    def did(self) -> str:
        return self.identity.did

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            kinds=self.kinds,
            engine=self.engine,
            device="cpu",
            software="test",
            speed_milli=self.speed_milli,
            batch_invariant=True,
            protections=(),
            exact=self.exact or None,
            memory_mb=self.memory_mb,
            plays=self.plays or None,
            backends=self.backends or None,
            classes=self.classes or None,
        )

    def join(self, **brings: Any) -> None:
        """`brings`: a delegation, an invitation, an effort."""
        self.leases.clear()
        self.speak(NodeJoined, capabilities=self.capabilities, **brings)

    def leave(self) -> None:
        self.leases.clear()
        self.speak(NodeLeft)

    def speak(self, kind: type[Statement], **fields: Any) -> Receipt:
        return self.world.speak(self.identity, kind, **fields)

    def request(self, **fields: Any) -> bytes:
        """A signed request for work that names what this node knows it holds."""
        named = {"kinds": self.kinds, "holding": tuple(self.leases)} | fields
        statement = self.world.statement(self.identity, LeaseRequested, **named)
        return envelope(self.identity, statement)

    def ask(self) -> LeaseGranted | None:
        granted = self.world.ask(self.request())
        if granted is not None:
            self.leases[granted.work] = granted
        return granted

    def wait(self, ms: int = 0) -> LeaseGranted | None:
        """Ask, and wait until the lab has looked at its deadlines `ms` later."""
        granted = self.world.ask_for_copy(self.request(), ms)
        if granted is not None:
            self.leases[granted.work] = granted
        return granted

    def prove(self, ms: int = 0) -> LeaseGranted:
        """Do one lease in `ms`; a run's first is of one group, whoever asks, and shows how fast it is there."""
        granted = self.ask()
        assert granted is not None
        self.world.now_ms += ms
        self.answer(granted)
        return granted

    def give_back(self, work: str, reason: str = "busy", **fault: str) -> None:
        self.leases.pop(work, None)
        self.speak(LeaseReturned, work=work, reason=reason, **fault)

    def fail(self, reason: str = "no room for the prompt", fault: str = "work") -> str | None:
        """Ask, and give back what came; the run whose work it was."""
        granted = self.ask()
        if granted is not None:
            self.give_back(granted.work, reason, fault=fault)
        return None if granted is None else granted.spec.run

    def put(self, data: bytes) -> BlobRef:
        """Bytes that an answer will name."""
        return self.world.put(data)

    def answer(self, grant: LeaseGranted, **lies: Any) -> Receipt:
        """The honest answer, but for `lies`: `work`, `seq` ... or a field of the answer."""
        self.leases.pop(grant.work, None)
        return self.speak(WorkAnswered, **self.answer_fields(grant, **lies))

    def answer_fields(self, grant: LeaseGranted, **lies: Any) -> dict[str, Any]:
        kind = self.answer_kind(grant)
        words = {name: lies.pop(name) for name in list(lies) if name in kind.model_fields}
        answer = kind(**(self.words(grant) | words))
        return {"work": grant.work, "answer": answer} | lies

    def answer_kind(self, grant: LeaseGranted) -> type[WorkAnswer]:
        return AuditAnswer if isinstance(grant.spec, AuditSpec) else RolloutAnswer

    def words(self, grant: LeaseGranted) -> dict[str, Any]:
        """The fields of an honest answer."""
        if isinstance(grant.spec, AuditSpec):
            return self.audited(grant.spec)
        assert isinstance(grant.spec, RolloutSpec)
        groups = self.sampled(grant)
        exact = self.world.run(grant.spec.run).opened.pace.exact
        data = pack_rollouts(groups, work=grant.work, policy=grant.spec.policy, exact=exact)
        return {
            "policy": grant.spec.policy,
            "exact": exact,
            "engine": self.world.run(grant.spec.run).opened.pace.engine,
            "result": self.put(data),
            "num_tokens": sum(len(each.tokens) for group in groups for each in group),
            "busy_ms": 5,
        }

    def audited(self, spec: AuditSpec) -> dict[str, Any]:
        """What a recomputation finds, unless this node says something else."""
        case = audits(self.world.run(spec.run)).cases.get(spec.work)
        said = {"record": spec.record, "positions": 10, "busy_ms": 3}
        found = None if case is None else self._difference(spec, case.answer.done)
        says = self.says or ("agree" if found is None else "differs")
        if says == "differs" and found is None:
            found = _invented(0)
        if says == "cannot":
            return said | {"says": says, "cannot": "weights"}
        told = {"says": says, "difference": found if says == "differs" else None}
        return said | told | self._measured(spec.run, says)

    def _measured(self, run: str, says: str) -> dict[str, Any]:
        """Nothing where answers are recomputed to the bit."""
        terms = self.world.run(run).opened.pace.audit
        if terms is None or terms.measures is None:
            return {}
        limits = terms.measures.limits
        over = says == "differs"
        figures = {
            name: most + 1 if over else most * (self.odd in (name, "all"))
            for name, most in limits.items()
        }
        return {"measured": Measured(drawn=100, figures=figures)}

    def _difference(self, spec: AuditSpec, done: AcceptedWork) -> Difference | None:
        exact = self.world.run(spec.run).opened.pace.exact
        honest = self.rollouts_of(done.spec)
        data = pack_rollouts(honest, work=spec.work, policy=spec.policy, exact=exact)
        assert inputs_digest((done,)) == spec.inputs
        return None if done.answer.result == ref(data) else _invented(1)

    def sampled(self, grant: LeaseGranted) -> list[list[Rollout]]:
        """What this node gives for a lease."""
        return self.rollouts_of(grant.spec)

    def rollouts_of(self, spec: Any) -> list[list[Rollout]]:
        """What an honest engine might give: it depends on the group and the policy alone."""
        assert isinstance(spec, RolloutSpec)
        pace = rl.pace(self.world.run(spec.run))
        return [
            [rollout(pace, f"{spec.policy}/{group}/{n}") for n in range(pace.group_size)]
            for group in spec.groups
        ]


def _invented(position: int) -> Difference:
    """A difference as it might be, or of nowhere."""
    return Difference(
        group=0, rollout=0, position=position, what="token", recorded="3", recomputed="4"
    )


class Cheat(Provider):
    """A node that makes its rollouts up."""

    def sampled(self, grant: LeaseGranted) -> list[list[Rollout]]:
        assert isinstance(grant.spec, RolloutSpec)
        pace = rl.pace(self.world.run(grant.spec.run))
        return [
            [rollout(pace, f"cheap/{group}/{n}") for n in range(pace.group_size)]
            for group in grant.spec.groups
        ]


def rollout(pace: RlPace, seed: str) -> Rollout:
    """One possible completion."""
    rng = random.Random(seed)
    length = rng.randint(1, pace.max_new_tokens)
    tokens = [rng.randrange(EOS + 1, pace.vocab_size) for _ in range(length)]
    finished = length < pace.max_new_tokens or rng.random() < 0.5
    if finished:
        tokens[-1] = EOS
    mask = None if pace.episodes is None else bytes([1]) * length
    return Rollout(tuple(tokens), tuple(-rng.random() for _ in tokens), finished, mask)


@dataclass
class Learner(Provider):
    """The trusted role: its weights are a few bytes that follow from what it learned from."""

    kinds: tuple[str, ...] = ("update", "evaluate")
    batches: list[list[int]] = field(default_factory=list)
    """Groups that each update learned from, in order."""

    def work(self) -> LeaseGranted | None:
        """Ask once, and do what there is to do."""
        granted = self.ask()
        if granted is not None:
            self.answer(granted)
        return granted

    def put(self, data: bytes) -> BlobRef:
        return self.world.put(data, privileged=True)

    def answer_kind(self, grant: LeaseGranted) -> type[WorkAnswer]:
        if isinstance(grant.spec, AuditSpec):
            return AuditAnswer
        return EvaluateAnswer if isinstance(grant.spec, EvaluateSpec) else UpdateAnswer

    def words(self, grant: LeaseGranted) -> dict[str, Any]:
        spec = grant.spec
        if isinstance(spec, AuditSpec):
            return self.audited(spec)
        if isinstance(spec, EvaluateSpec):
            report = self.put(grant.work.encode())
            exact = self.world.run(spec.run).opened.pace.exact
            named = {"version": spec.version, "policy": spec.policy, "exact": exact}
            return named | {"report": report, "metrics": {"score_micro": 1}}
        return self.version_fields(grant)

    def version_fields(self, grant: LeaseGranted) -> dict[str, Any]:
        spec = grant.spec
        assert isinstance(spec, UpdateSpec)
        run = self.world.run(spec.run)
        pace, terms = rl.pace(run), run.opened.terms
        first = 0 if spec.version == 0 else spec.version + pace.max_staleness
        last = min(spec.version + pace.max_staleness + 1, terms.versions)
        weights = f"weights {spec.version} after {self._learned(run, spec)}".encode()
        is_saved = spec.version > 0 and spec.version % terms.checkpoint_every == 0
        return {
            "version": spec.version,
            "parent": spec.parent,
            "policy": sha256_digest(weights),
            "manifest": self.put(b"manifest of " + weights),
            "anchor": self.put(weights),
            "delta": None,
            "memory": self.put(b"memory of " + weights) if is_saved else None,
            "prompts": tuple(self._prompts(pace, batch) for batch in range(first, last)),
            "metrics": {"reward_micro": 500_000},
        }

    def _learned(self, run: Run, spec: UpdateSpec) -> list[str]:
        """Digests of the batch's results; the batch has to be exactly its groups, each once."""
        if spec.version == 0:
            return []
        batch, inputs = rl.next_batch(run), rl.batch_results(run)
        assert spec.inputs == inputs_digest(inputs)
        found = [group for each in inputs for group in each.spec.groups if group in batch]  # type: ignore[attr-defined]  # rollouts
        assert sorted(found) == list(batch)
        assert len(set(found)) == len(found)
        self.batches.append(sorted(found))
        return [each.answer.result.digest for each in inputs]  # type: ignore[attr-defined]  # rollouts

    def _prompts(self, pace: RlPace, batch: int) -> PromptBatch:
        prompts = [(1, 3 + batch % 8, 3 + row % 8) for row in range(pace.groups_per_update)]
        tasks = None
        if pace.episodes is not None and pace.episodes.chooses:
            tasks = range(len(prompts))
        data = pack_prompts(prompts, batch=batch, tasks=tasks)
        return PromptBatch(batch=batch, blob=self.put(data))
