"""A real run simulated by what its own ledger measured: the same keys, presence, terms and times, decided anew.

Leases, staleness, audits and pay come out of the lab's own code, as in any simulation; how long each thing takes is
drawn from what the same node took. So what differs is what the simulation leaves out. Parts: `LikeWorld`, `compared`.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from archipel.lab import refusals
from archipel.lab.programmes import rl
from archipel.lab.state import Run
from archipel.records.canonical import sha256_digest
from archipel.records.changed import changed
from archipel.records.kinds import Answer
from archipel.records.kinds.audit import AuditAnswer, AuditSpec, Difference
from archipel.records.kinds.evaluate import EvaluateAnswer, EvaluateSpec
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.kinds.update import PromptBatch, UpdateAnswer, UpdateSpec
from archipel.records.statements import LeaseGranted, NodeJoined, NodeLeft, Recorded, WorkAnswered
from archipel.simulation.events import Events
from archipel.simulation.lab import SimulatedLab
from archipel.simulation.observed import Observed, Took
from archipel.simulation.sufficing import advice
from archipel.simulation.watch import chance_of
from archipel.simulation.words import blob

LOOK_MS = 200
"""As a real lab looks at its deadlines."""
NEAREST = 8
"""Answers of about the same size, of which one is taken."""
MOST_TIMES = 10
"""A simulated run that takes so many times as long as the real one is given up."""


@dataclass(frozen=True)
class Compared:
    """One figure of the real run and of its simulations."""

    name: str
    unit: str
    real: float
    simulated: tuple[float, ...]
    """A seed each."""

    @property
    def off(self) -> float:
        """Mean of the simulations over the real one, less 1."""
        mean = sum(self.simulated) / len(self.simulated)
        return mean / self.real - 1 if self.real else 0.0


class LikeWorld:
    """One simulation."""

    def __init__(self, observed: Observed, seed: int) -> None:
        self._observed = observed
        self._chance = random.Random(f"like {seed}")  # noqa: S311  a simulation
        self._events = Events(observed.opened_at_ms)
        operator = observed.operators[0]
        self._lab = SimulatedLab(
            observed.lab, operator, lambda: self._events.now_ms, seed, self._on_recorded
        )
        self._session: dict[str, int] = {}
        self._waiting: set[str] = set()
        self._works: dict[str, list[str]] = {}
        """Node -> what it holds, oldest first."""
        self._free_ms: dict[str, float] = {}
        """Node -> when it is done with all that it holds."""
        self._forged: set[str] = set()
        self._tokens: dict[str, int] = {}
        """Work in hand -> tokens that it brings."""
        self.ended_at_ms = 0

    @property
    def run(self) -> Run:
        """As it stands."""
        return self._lab.ahead.runs[self._observed.opened.run]

    def play(self) -> None:
        """Until the run has made as many versions as the real one.

        Raises:
            TimeoutError: it did not in many times as long.
        """
        observed, lab = self._observed, self._lab
        opened = observed.opened
        lab.submit(changed(opened, author=observed.operators[0], seq=lab.next_seq()))
        for did, seen in observed.seen.items():
            for joined_ms, left_ms in seen.spells:
                if joined_ms is not None:
                    self._events.at(joined_ms, self._joins, did)
                if left_ms is not None and left_ms < observed.ended_at_ms:
                    self._events.at(left_ms, self._leaves, did)
        self._events.after(LOOK_MS, self._look)
        took = observed.ended_at_ms - observed.opened_at_ms
        until_ms = observed.opened_at_ms + MOST_TIMES * max(took, 1000)
        while self.run.version < observed.run.version:
            if not self._events.step(until_ms):
                raise TimeoutError(
                    f"version {self.run.version} of {observed.run.version} after {MOST_TIMES} times as long as the real"
                    " run took: its nodes do not suffice in the simulation; "
                    + advice(observed, self.run, self._events.now_ms)
                )
        self.ended_at_ms = self._events.now_ms

    def _joins(self, did: str) -> None:
        self._session[did] = self._session.get(did, 0) + 1
        self._works[did], self._free_ms[did] = [], 0.0
        seen, lab = self._observed.seen[did], self._lab
        lab.submit(
            NodeJoined(lab=lab.did, author=did, seq=lab.next_seq(), capabilities=seen.capabilities)
        )
        self._asks(did)

    def _leaves(self, did: str) -> None:
        self._session[did] = self._session.get(did, 0) + 1
        self._lab.gone(did)
        self._waiting.discard(did)
        self._lab.submit(NodeLeft(lab=self._lab.did, author=did, seq=self._lab.next_seq()))

    def _asks(self, did: str) -> None:
        """As long as it holds fewer than the real one did."""
        seen, works = self._observed.seen[did], self._works[did]
        if did in self._waiting or len(works) >= seen.depth:
            return
        self._waiting.add(did)
        try:
            self._lab.ask(did, seen.capabilities.kinds, tuple(works))
        except refusals.Refused:
            self._waiting.discard(did)

    def _look(self) -> None:
        self._lab.look()
        self._events.after(LOOK_MS, self._look)

    def _on_recorded(self, statement: Recorded) -> None:
        if isinstance(statement, LeaseGranted):
            did, session = statement.node, self._session[statement.node]
            self._waiting.discard(did)
            self._works[did].append(statement.work)
            begins = max(self._free_ms[did], self._events.now_ms)
            self._free_ms[did] = begins + self._takes_ms(statement)
            self._events.at(round(self._free_ms[did]), self._done, statement, session)
            self._events.after(0, self._asks, did)

    def _takes_ms(self, grant: LeaseGranted) -> float:
        """As long as the same node took for such work, or as long as all did."""
        seen, spec = self._observed.seen[grant.node], grant.spec
        if isinstance(spec, RolloutSpec):
            like = self._like(grant.node, len(spec.groups))
            self._tokens[grant.work] = like.tokens * len(spec.groups) // like.groups
            return like.ms * len(spec.groups) / like.groups
        if isinstance(spec, AuditSpec):
            others = [ms for each in self._observed.seen.values() for ms in each.audit_ms]
            return self._chance.choice(seen.audit_ms or others or [0.0])
        known = seen.trusted_ms.get(spec.kind, [])
        if isinstance(spec, UpdateSpec) and spec.version == 0 and known:
            return known[0]
        later = known[1:] if isinstance(spec, UpdateSpec) else known
        return self._chance.choice(later or known or [0.0])

    def _like(self, did: str, groups: int) -> Took:
        """One of its answers that were about as large: small ones take longer for each group."""
        known = self._observed.seen[did].rollouts or [
            each for seen in self._observed.seen.values() for each in seen.rollouts
        ]
        near = sorted(known, key=lambda each: abs(math.log(each.groups / groups)))[:NEAREST]
        return self._chance.choice(near)

    def _done(self, grant: LeaseGranted, session: int) -> None:
        did = grant.node
        if self._session.get(did) != session:
            return
        self._works[did].remove(grant.work)
        try:
            lab = self._lab
            lab.submit(
                WorkAnswered(
                    lab=lab.did, author=did, seq=lab.next_seq(), work=grant.work,
                    answer=self._answer(grant),
                )
            )  # fmt: skip
        except refusals.Refused:
            pass  # its lease is over, or its node is believed no more: the same would be said to a real one
        self._asks(did)

    def _answer(self, grant: LeaseGranted) -> Answer:
        spec, pace = grant.spec, self._observed.opened.pace
        if isinstance(spec, RolloutSpec):
            seen = self._observed.seen[grant.node]
            if seen.wrong and chance_of(grant.work) * seen.audited < seen.wrong:
                self._forged.add(grant.work)
            tokens = self._tokens.pop(grant.work)
            return RolloutAnswer(
                policy=spec.policy, result=blob(grant.work, 1024), num_tokens=tokens,
                busy_ms=0, exact=pace.exact, engine=pace.engine,
            )  # fmt: skip
        if isinstance(spec, AuditSpec):
            return self._audited(spec)
        if isinstance(spec, EvaluateSpec):
            report = blob(f"report {spec.version}", 1024)
            return EvaluateAnswer(
                version=spec.version,
                policy=spec.policy,
                report=report,
                metrics={},
                exact=pace.exact,
            )
        if not isinstance(spec, UpdateSpec):
            raise TypeError(f"{grant.work} is {spec.kind} work, which a simulation does not play")
        return self._updated(spec)

    def _audited(self, spec: AuditSpec) -> AuditAnswer:
        is_wrong = spec.work in self._forged
        found = Difference(
            group=0, rollout=0, position=0, what="token", recorded="1", recomputed="2"
        )
        return AuditAnswer(
            record=spec.record, says="differs" if is_wrong else "agree",
            difference=found if is_wrong else None, positions=1, busy_ms=0,
        )  # fmt: skip

    def _updated(self, spec: UpdateSpec) -> UpdateAnswer:
        terms, staleness = self._observed.opened.terms, rl.pace(self.run).max_staleness
        version = spec.version
        first = 0 if version == 0 else version + staleness
        due = range(first, min(version + staleness + 1, terms.versions))
        is_saved = version > 0 and version % terms.checkpoint_every == 0
        return UpdateAnswer(
            version=version,
            parent=spec.parent,
            policy=sha256_digest(f"policy {version}".encode()),
            manifest=blob(f"manifest {version}", 4096),
            anchor=blob(f"anchor {version}", 4096) if version == 0 or is_saved else None,
            delta=blob(f"delta {version}", 4096) if version else None,
            memory=blob(f"memory {version}", 4096) if is_saved else None,
            prompts=tuple(
                PromptBatch(batch=each, blob=blob(f"prompts {each}", 4096)) for each in due
            ),
            metrics={},
        )


def compared(observed: Observed, seeds: range, tell: Callable[[str], None]) -> list[Compared]:
    """The real run beside a simulation of each seed.

    Raises:
        CannotSimulate: its rules are more than this plays. TimeoutError: as `LikeWorld.play`.
    """
    worlds = list[LikeWorld]()
    for seed in seeds:
        world = LikeWorld(observed, seed)
        world.play()
        worlds.append(world)
        tell(f"seed {seed}: {world.run.version} versions")
    real, course = observed.run, rl.course(observed.run)
    began = real.version_0_at_ms

    def each(measure: Callable[[LikeWorld], float]) -> tuple[float, ...]:
        return tuple(measure(world) for world in worlds)

    def seconds(world: LikeWorld) -> float:
        return (world.ended_at_ms - world.run.version_0_at_ms) / 1000

    return [
        Compared(
            "learner at work", "of 1", observed.utilisation,
            each(lambda world: rl.course(world.run).busy_ms / 1000 / seconds(world)),
        ),
        Compared(
            "paid", "credits", real.paid_micro / 1e6, each(lambda world: world.run.paid_micro / 1e6)
        ),
        Compared(
            "from version 0 to the last", "s", (observed.ended_at_ms - began) / 1000, each(seconds)
        ),
        Compared(
            "staleness, mean", "versions", _staleness(course),
            each(lambda world: _staleness(rl.course(world.run))),
        ),
    ]  # fmt: skip


def _staleness(course: rl.RlSlice) -> float:
    groups = sum(course.staleness.values())
    return sum(age * each for age, each in course.staleness.items()) / groups if groups else 0.0
