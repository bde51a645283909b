"""What a third of the nodes, who forge to spoil a run, do to what it learns: with audits and without.

The central loop in lock step, its groups dealt to nodes. Those that cheat are honest until they are known, and forge
every answer from then on. With audits, the lab's own rules say which answers are drawn (`bench.reckoning.Rules`,
`lab.risk.chance`); a drawn one is recomputed (`bench.court`), and what differs is a hard verdict: the node is given
nothing more, and its answers that nobody has learned from are sampled again by others.
What it does not show: verdicts that come after their answer was learned from, which the staleness bound allows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from archipel.bench.central import Bench, Skill, prepare
from archipel.bench.cheats import CHEATS, Forger
from archipel.bench.court import SECRET, difference, of_bench
from archipel.bench.reckoning import Rules
from archipel.engine.exact.replay import Replayer
from archipel.engine.exact.scoring import arithmetic_named
from archipel.lab.reputation import Standing
from archipel.lab.risk import chance
from archipel.records.audits import is_drawn
from archipel.records.recipe import Recipe
from archipel.records.requests import Request
from archipel.records.rollouts import Rollout
from archipel.training.report import UpdateReport
from archipel.training.rl import reinforce
from archipel.training.trainer import Trainer

CLEAN, AUDITED, ALONE = "nobody cheats", "a third cheats, audited", "a third cheats, not audited"
ARMS = (CLEAN, AUDITED, ALONE)
CHEAT = "poisoned log-probabilities"
"""Of `bench.cheats`: what it sends is a reason to unlearn what was sampled."""
NODES = 12
EVERY = 3
"""Each so many-th node cheats."""
VARIANT = "w7a8"
_KEPT = 6
"""Versions that a forger is given."""


@dataclass
class Worker:
    """A node as the lab knows it."""

    name: int
    cheats: bool
    known: Standing = field(default_factory=Standing)
    paid: int = 0
    forged: int = 0
    out: bool = False


@dataclass(frozen=True)
class Arm:
    """One run."""

    seed: int
    arm: str
    reward: float
    greedy: float
    curve: tuple[float, ...]
    """Mean reward of the batch of each update."""
    forged: int
    """Answers that were forged."""
    learned: int
    """Of these, how many an update learned from."""
    audits: int
    answers: int
    quarantined: int
    accused: int
    """Honest nodes among these."""


class Floor:
    """The nodes of one run, and who looks at what they send."""

    def __init__(self, bench: Bench, arm: str, honest_first: int) -> None:
        self.workers = [Worker(n, arm != CLEAN and n % EVERY == 0) for n in range(NODES)]
        self.audits = self.answers = self.learned = 0
        self._bench, self._audited, self._honest_first = bench, arm == AUDITED, honest_first
        audit = bench.recipe.audit
        self._rules = Rules(round(audit.floor * 1e6), bench.recipe.lease.price_micro, audit.stake)
        self._states: list[Mapping[str, Tensor]] = []
        self._turn = 0

    def sample(
        self, state: Mapping[str, Tensor], requests: Sequence[Request]
    ) -> list[tuple[Rollout, ...]]:
        """One batch: as many rounds as it takes until no drawn answer of it differs."""
        self._states = [*self._states[1 - _KEPT :], state]
        honest = self._bench.sample(state, requests)
        replayer = self._replayer(state)
        found: dict[int, tuple[Rollout, ...]] = {}
        by: dict[int, tuple[Worker, bool]] = {}
        while missing := [at for at in range(len(requests)) if at not in found]:
            for at in missing:
                worker = self._next()
                forges = worker.cheats and worker.paid >= self._honest_first
                found[at] = self._forged(requests[at]) if forges else honest[at]
                by[at] = worker, forges
                if not worker.out and not self._stands(worker, requests[at], found[at], replayer):
                    worker.out = True
            for at in [at for at, (worker, _) in by.items() if worker.out and at in found]:
                del found[at]
        self.learned += sum(forges for _, forges in by.values())
        return [found[at] for at in range(len(requests))]

    def _next(self) -> Worker:
        present = [worker for worker in self.workers if not worker.out]
        self._turn += 1
        return present[self._turn % len(present)]

    def _forged(self, request: Request) -> tuple[Rollout, ...]:
        (group,) = CHEATS[CHEAT](Forger(self._bench.engine, self._states), [request])
        return group

    def _replayer(self, state: Mapping[str, Tensor]) -> Replayer | None:
        if not self._audited:
            return None
        replayer = Replayer(arithmetic_named(VARIANT, self._bench.config))
        replayer.load(state)
        return replayer

    def _stands(
        self,
        worker: Worker,
        request: Request,
        group: tuple[Rollout, ...],
        replayer: Replayer | None,
    ) -> bool:
        """Pay the answer; False if it is drawn and an audit of it differs."""
        self.answers += 1
        worker.paid += 1
        worker.forged += worker.cheats and worker.paid > self._honest_first
        price = self._rules.price_micro
        known = replace(worker.known, exposed_micro=worker.known.exposed_micro + price)
        rate = chance(
            self._rules.floor_micro, known, price, self._rules.staked(worker.paid), is_audit=False
        )
        worker.known = known
        drawn = is_drawn(_digest(f"root {request.seed}"), _digest(f"{worker.name} {request.key}"), rate)  # fmt: skip
        if replayer is None or not drawn:
            return True
        self.audits += 1
        if difference(replayer, self._bench.recipe, request, [group]) is not None:
            return False
        worker.known = replace(known, verified=known.verified + 1, exposed_micro=0)
        return True


def spoil(recipe: Recipe, seed: int, updates: int, arms: Sequence[str]) -> list[Arm]:
    """Every arm from the same start, tasks and noise; sampled by the exact contract."""
    sampling = recipe.sampling.model_copy(update={"engine": "exact", "variant": VARIANT})
    own = of_bench(recipe.model_copy(update={"sampling": sampling}), updates, seed)
    bench = prepare(own, SECRET)
    return [_arm(bench, seed, arm, updates) for arm in arms]


def _arm(bench: Bench, seed: int, arm: str, updates: int) -> Arm:
    batches = bench.recipe.run.groups_per_update * updates
    floor = Floor(bench, arm, honest_first=batches // NODES // 8)
    trainer = Trainer(bench.fresh_model(), bench.recipe)
    curve: list[float] = []

    def on_update(report: UpdateReport) -> None:
        curve.append(report.reward_mean)

    reinforce(trainer, replace(bench.rehearsal(), sample=floor.sample), on_update)
    skill: Skill = bench.evaluate(trainer.published_state(), updates)
    out = [worker for worker in floor.workers if worker.out]
    return Arm(
        seed, arm, skill.reward, skill.greedy, tuple(curve),
        sum(worker.forged for worker in floor.workers), floor.learned, floor.audits, floor.answers,
        len(out), sum(not worker.cheats for worker in out),
    )  # fmt: skip


def rows(recipe: Recipe, seed: int, updates: int, arm: str) -> list[dict[str, Any]]:
    """One arm, ready for JSON."""
    return [asdict(each) for each in spoil(recipe, seed, updates, [arm])]


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
