"""What holds however the steps of nodes, learner and clock are interleaved."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.lab import refusals
from archipel.lab.programmes import rl
from archipel.lab.state import Phase
from people import Learner, Provider, identity
from world import World, finish

STEPS = ("ask", "ask", "wait", "answer", "answer", "give back", "rejoin", "leave", "forget")
"""What a node may do; asking and answering are drawn more often."""

plans = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(STEPS), st.integers(0, 3)),
        st.tuples(st.just("learn"), st.integers(0, 1)),
        st.tuples(st.just("wait"), st.sampled_from([1, 40, 5000, 31_000, 121_000])),
        st.tuples(st.sampled_from(["pause", "resume"]), st.just(0)),
    ),
    max_size=80,
)
quick = settings(max_examples=10, deadline=None)


class Story:
    """Four nodes of unlike speed, two trusted keys, one run."""

    def __init__(self, world: World, staleness: int, batch: int) -> None:
        self.world = world
        trusted = ("learner", "second learner")
        self.learners = [Learner(world, identity(name)) for name in trusted]
        world.open_run(
            trusted=tuple(each.did for each in self.learners),
            max_staleness=staleness,
            groups_per_update=batch,
            max_groups_per_lease=3,
        )
        for learner in self.learners:
            learner.join()
        speeds = (0, 4000, 400, 40_000)
        self.nodes = [world.provider(f"node {n}", speed) for n, speed in enumerate(speeds)]
        self.present = {node.did for node in self.nodes}

    def step(self, what: str, number: int) -> None:
        acts: dict[str, Callable[[int], None]] = {
            "learn": lambda n: self._learn(self.learners[n]),
            "wait": self.world.tick,
            "pause": lambda n: self._rule(self.world.pause_run),
            "resume": lambda n: self._rule(self.world.resume_run),
        }
        if what in acts:
            acts[what](number)
        else:
            self._node_step(self.nodes[number], what)

    def _rule(self, say: Callable[[], None]) -> None:
        with contextlib.suppress(refusals.Conflict):
            say()

    def _learn(self, learner: Learner) -> None:
        granted = learner.ask()
        if granted is not None:
            learner.answer(granted)

    def _node_step(self, node: Provider, what: str) -> None:
        if what == "rejoin" or node.did not in self.present:
            node.join()
            self.present.add(node.did)
        elif what == "leave":
            node.leave()
            self.present.discard(node.did)
        elif what == "forget":
            node.leases.clear()
        elif what == "ask":
            node.ask()
        elif what == "wait":
            node.wait(31_000)
        elif node.leases:
            self._end_lease(node, what)

    def _end_lease(self, node: Provider, what: str) -> None:
        granted = next(iter(node.leases.values()))
        try:
            node.answer(granted) if what == "answer" else node.give_back(granted.work)
        except refusals.Late:
            assert granted.deadline_ms < self.world.now_ms or granted.work in dict(
                self.world.state.nodes[node.did].ends
            )

    def end(self) -> None:
        self._rule(self.world.resume_run)
        for node in self.nodes:
            node.join()
        finish(self.world, self.learners[0], self.nodes)


@quick
@given(plans, st.integers(0, 4), st.integers(1, 7))
def test_no_order_of_events_breaks_staleness_admission_payment_or_replay(
    plan: list[tuple[str, int]], staleness: int, batch: int
) -> None:
    world = World()
    story = Story(world, staleness, batch)
    for what, number in plan:
        story.step(what, number)
        world.check()
    story.end()
    world.check()
    world.check_replay()
    run = world.run()
    everything = list(range(run.opened.terms.versions * batch))
    learned = [group for each in story.learners for part in each.batches for group in part]
    assert run.phase is Phase.COMPLETE
    assert sorted(learned) == everything
    assert rl.course(run).num_groups == len(everything), "a group was generated and thrown away"
    paid = sum(world.state.book.get(node.did, 0) for node in story.nodes)
    assert paid == len(everything) * rl.pace(run).price_micro
    world.close()


@quick
@given(plans, st.integers(0, 2))
def test_a_lab_that_is_killed_at_any_moment_continues_where_its_ledger_ends(
    plan: list[tuple[str, int]], staleness: int
) -> None:
    world = World()
    story = Story(world, staleness, 3)
    for position, (what, number) in enumerate(plan):
        story.step(what, number)
        if position % 16 == 0:
            before = world.state
            world.restart()
            assert world.state == before
    story.end()
    world.check()
    world.check_replay()
    world.close()


@pytest.mark.parametrize("staleness", range(5))
def test_a_learner_that_stands_still_stops_admission_exactly_at_the_bound(
    world: World, staleness: int
) -> None:
    world.started(max_staleness=staleness, versions=9, groups_per_update=3)
    node = world.provider("node")
    while (granted := node.ask()) is not None:
        node.answer(granted)
        world.check()
    assert rl.course(world.run()).next_group == (staleness + 1) * 3


def test_at_staleness_zero_every_rollout_is_from_the_policy_it_trains(world: World) -> None:
    learner = world.started(max_staleness=0)
    finish(world, learner, [world.provider("a"), world.provider("b")])
    run = world.run()
    everything = run.opened.terms.versions * rl.pace(run).groups_per_update
    assert rl.course(run).staleness == {0: everything}
