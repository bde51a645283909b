"""Pretraining by chance: members join, leave, lag and lie, merges are given back, and what must hold holds all the time."""

import random
from collections import Counter

import pytest

from archipel.lab import refusals
from archipel.lab.programmes import pretrain
from archipel.lab.state import Phase
from archipel.records.kinds.inner_step import InnerStepAnswer
from archipel.records.kinds.merge import BLAMELESS, MergeAnswer, MergeSpec
from archipel.records.statements import LeaseGranted, NodesForgotten, WorkAnswered
from outer import GATE, Member, Merger, check_outer, member, merged_once, outer_started
from world import World

REASONS = ("payload", "norm", "loss", "own_data", "outlier")
STEPS = 60


class Crowd:
    """Members and a merger who do one thing after another by chance."""

    def __init__(self, world: World, merger: Merger, seed: int) -> None:
        self.world, self.merger = world, merger
        self.random = random.Random(seed)
        self.members = [member(world, f"member {n}") for n in range(4)]
        self.refused_late = 0

    @property
    def is_over(self) -> bool:
        return self.world.run("outer").phase is Phase.COMPLETE

    def act(self) -> None:
        """One thing, and time passes."""
        who = self.random.choice(self.members)
        self.random.choices(
            [self._ask, self._answer, self._merge, self._idle, self._fail, self._come_or_go],
            weights=[8, 6, 6, 2, 1, 1],
        )[0](who)
        self.world.tick(self.random.choice([1, 30, 200, 900]))

    def _ask(self, who: Member) -> None:
        if self.world.state.nodes[who.did].present:
            who.ask()

    def _answer(self, who: Member) -> None:
        """The last member lags."""
        is_slow = who is self.members[-1] and self.random.random() < 0.7
        for grant in [] if is_slow else list(who.leases.values())[:1]:
            try:
                who.answer(grant)
            except refusals.Late:
                self.refused_late += 1

    def _merge(self, who: Member) -> None:
        """Often; now and then it is given back, or everybody is refused."""
        granted = self.merger.ask()
        if granted is None:
            return
        if isinstance(granted.spec, MergeSpec) and self.random.random() < 0.25:
            self.merger.give_back(granted.work)
            return
        chance = self.random.choice([0.0, 0.0, 0.2, 1.0])
        self.merger.refuses = {
            each.did: self.random.choice(REASONS)
            for each in self.members
            if self.random.random() < chance
        }
        if self.random.random() < 0.5:  # others go on while it merges
            for each in self.members:
                self._answer(each)
        self.merger.answer(granted)

    def _idle(self, who: Member) -> None:
        self.world.tick(self.random.choice([1000, 2500]))

    def _fail(self, who: Member) -> None:
        for grant in list(who.leases.values())[:1]:
            who.leases.pop(grant.work)
            if grant.work in self.world.state.leases:
                who.give_back(grant.work)

    def _come_or_go(self, who: Member) -> None:
        if self.world.state.nodes[who.did].present and self.random.random() < 0.5:
            who.leave()
        else:
            who.join()

    def finish(self) -> None:
        """Everybody works honestly until the run is over."""
        self.merger.refuses = {}
        for who in self.members:
            who.join()
        for _ in range(400):
            if self.is_over:
                return
            for who in self.members:
                who.ask()
                self._answer(who)
            self.world.tick(700)
            self.merger.work()
        raise AssertionError("the run did not end")


def _paid_by_the_ledger(world: World) -> Counter[str]:
    """What each node is to have, from the statements alone."""
    grants: dict[str, LeaseGranted] = {}
    answers: dict[str, WorkAnswered] = {}
    paid: Counter[str] = Counter()
    for said in world.statements():
        assert not isinstance(said, NodesForgotten)
        if isinstance(said, LeaseGranted):
            grants[said.work] = said
        if not isinstance(said, WorkAnswered):
            continue
        answers[said.work] = said
        if isinstance(said.answer, MergeAnswer):
            for verdict in said.answer.verdicts:
                known, grant = answers[verdict.work], grants[verdict.work]
                assert isinstance(known.answer, InnerStepAnswer)
                is_paid = verdict.reason is None or verdict.reason in BLAMELESS
                micro = grant.price_micro * known.answer.steps // grant.spec.steps  # type: ignore[attr-defined]  # a contribution
                paid[known.author] += micro * is_paid
    return +paid


@pytest.mark.parametrize("late", ["drop", "use"])
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))]
)
def test_whatever_members_do_each_index_is_merged_once_and_paid_is_what_was_merged(
    world: World, seed: int, late: str
) -> None:
    gate = GATE if seed % 2 else None
    crowd = Crowd(
        world, outer_started(world, late=late, gate=gate, versions=5, slack_milli=40_000), seed
    )
    for _ in range(STEPS * (1 + 2 * (seed > 0))):
        crowd.act()
        check_outer(world.state, world.run("outer"))
    crowd.finish()
    world.check()
    world.check_replay()
    merged_once(crowd.merger)
    paid = _paid_by_the_ledger(world)
    assert world.run("outer").paid_micro == paid.total()
    for each in crowd.members:
        assert world.state.book.get(each.did, 0) == paid[each.did]
    verdicts = [
        verdict.work
        for said in world.statements()
        if isinstance(said, WorkAnswered) and isinstance(said.answer, MergeAnswer)
        for verdict in said.answer.verdicts
    ]
    assert (
        len(set(verdicts)) == len(verdicts) == pretrain.course(world.run("outer")).counts.answered
    )
