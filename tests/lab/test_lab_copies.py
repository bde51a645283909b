"""A late lease may be given to a second node: the first answer is paid, the other is told so."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.lab import refusals
from archipel.lab.apply import Contradiction, apply
from archipel.lab.decide import late_leases
from archipel.lab.kinds import RULES_OF
from archipel.lab.programmes import rl
from archipel.lab.speeds import set_back
from archipel.records.statements import LeaseGranted, WorkAnswered
from people import Provider, identity
from world import PACE, World, finish

FLOOR = PACE["min_deadline_ms"]
LONG = 40 * FLOOR
STARTED = {"max_staleness": 0, "groups_per_update": 4, "versions": 12, "trusted_deadline_ms": LONG}


class Race:
    """A batch of four: the slow node holds the last group, the quick one did the others and is idle."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.learner = world.started(**STARTED)
        self.slow, self.quick = world.provider("slow"), world.provider("quick")
        self.slow.prove(FLOOR)
        self.quick.prove(1000)
        self.late = held(self.slow)
        while (granted := self.quick.ask()) is not None:
            self.quick.answer(granted)

    def copied(self) -> LeaseGranted:
        granted = self.quick.wait(2 * FLOOR + 1)
        assert granted is not None
        assert granted.spec.groups == self.late.spec.groups  # type: ignore[union-attr]  # rollouts
        self.world.check()
        return granted


def held(node: Provider) -> LeaseGranted:
    granted = node.ask()
    assert granted is not None
    return granted


@pytest.fixture
def race(world: World) -> Race:
    return Race(world)


def test_a_lease_is_late_at_twice_what_its_holder_needs_and_not_before(
    world: World, race: Race
) -> None:
    assert race.late.deadline_ms >= world.now_ms + 4 * FLOOR
    assert race.quick.wait(2 * FLOOR) is None
    assert not late_leases(world.state, world.now_ms)
    assert race.quick.wait(1) is not None
    assert not late_leases(world.state, world.now_ms), "a work has two holders at most"
    third = world.provider("third")
    assert third.wait(1) is None


@pytest.mark.parametrize("is_first", [True, False], ids=["the first holder", "the second holder"])
def test_the_first_answer_is_paid_and_the_other_lease_ends_and_its_answer_is_refused(
    world: World, race: Race, is_first: bool
) -> None:
    copy = race.copied()
    pairs = [(race.slow, race.late), (race.quick, copy)]
    (winner, won), (loser, lost) = pairs if is_first else pairs[::-1]
    price = PACE["price_micro"]
    assert world.state.book["held:run"] == 2 * price, "each lease has its own money held"
    before = world.state.book[winner.did]
    setbacks = world.state.nodes[loser.did].speeds
    winner.answer(won)
    assert world.state.book[winner.did] == before + price
    assert "held:run" not in world.state.book
    assert not world.state.leases
    after = world.state.nodes[loser.did]
    assert dict(after.ends)[lost.work] == "overtaken"
    assert (after.expired, after.returned, after.speeds) == (0, 0, setbacks)
    with pytest.raises(refusals.Late, match="a second node answered it first; only the first"):
        loser.answer(lost)
    world.check()
    finish(world, race.learner, [race.slow, race.quick])
    world.check_replay()


@pytest.mark.parametrize("is_first", [True, False], ids=["the first holder", "the second holder"])
def test_a_work_that_one_of_two_gives_back_stays_with_the_other(
    world: World, race: Race, is_first: bool
) -> None:
    copy = race.copied()
    pairs = [(race.slow, race.late), (race.quick, copy)]
    (leaver, left), (stayer, kept) = pairs if is_first else pairs[::-1]
    leaver.give_back(left.work)
    assert rl.course(world.run()).pool == ()
    world.check()
    stayer.give_back(kept.work)
    assert rl.course(world.run()).pool == left.spec.groups  # type: ignore[union-attr]  # rollouts
    world.check()
    world.check_replay()


def test_when_the_late_lease_runs_out_the_second_node_goes_on_alone(
    world: World, race: Race
) -> None:
    copy = race.copied()
    world.tick(race.late.deadline_ms - world.now_ms + 1)
    assert race.late.work not in world.state.leases
    race.slow.leases.clear()
    if copy.work in world.state.leases:
        race.quick.answer(copy)
    world.check()
    finish(world, race.learner, [race.slow, race.quick])


def test_nobody_gets_a_copy_who_is_unmeasured_busy_or_as_slow(world: World, race: Race) -> None:
    unmeasured = world.provider("unmeasured")
    assert unmeasured.wait(2 * FLOOR + 1) is None
    assert race.slow.wait() is None, "the holder itself"
    world.now_ms = race.late.deadline_ms - 2
    assert race.quick.wait() is None, "it would be done after the first holder's deadline"


def test_who_has_a_lease_to_make_up_for_gets_no_copy(world: World, race: Race) -> None:
    quick = world.state.nodes[race.quick.did]
    late, run, rules = world.state.leases[race.late.work], world.run(), RULES_OF["rollout"]
    assert rules.copies is not None
    assert rules.copies.expected_ms(run, quick, late.spec) is not None
    assert rules.copies.expected_ms(run, set_back(quick, late), late.spec) is None


def test_a_ledger_cannot_hold_a_third_grant_of_a_work_or_one_that_mixes_two(
    world: World, race: Race
) -> None:
    copy = race.copied()
    again = copy.model_copy(update={"work": f"run.{world.run().next_work}"})
    with pytest.raises(Contradiction, match="in the hands of"):
        apply(world.state, again, world.now_ms)
    race.quick.give_back(copy.work)
    (group,) = again.spec.groups  # type: ignore[union-attr]  # rollouts
    mixed = again.spec.model_copy(update={"groups": (group, group + 1)})
    with pytest.raises(Contradiction, match="in the hands of"):
        apply(world.state, again.model_copy(update={"spec": mixed}), world.now_ms)
    assert apply(world.state, again, world.now_ms).leases.keys() >= {race.late.work, again.work}


def test_who_was_overtaken_is_not_passed_over_as_who_failed_is(world: World, race: Race) -> None:
    race.copied()
    race.quick.answer(next(iter(race.quick.leases.values())))
    race.slow.leases.clear()
    race.learner.work()
    world.open_run("second")
    while race.learner.work() is not None:
        pass
    granted = race.slow.ask()
    assert granted is not None
    assert granted.spec.run == "run", "the run with the least in flight, and the first by name"


def test_a_late_lease_is_not_copied_while_there_is_other_work(world: World) -> None:
    learner = world.started(**(STARTED | {"max_staleness": 3, "groups_per_update": 2}))
    slow, quick = world.provider("slow"), world.provider("quick")
    slow.prove(FLOOR)
    quick.prove(1000)
    learner.work()
    late = held(slow)
    world.now_ms += 2 * FLOOR + 1
    assert not late_leases(world.state, world.now_ms)
    granted = quick.wait()
    assert granted is not None
    assert not set(granted.spec.groups) & set(late.spec.groups)  # type: ignore[union-attr]  # rollouts


STEPS = st.tuples(
    st.sampled_from(["ask", "straggle", "wait", "answer", "answer", "give back", "rejoin", "tick"]),
    st.integers(0, 2),
    st.sampled_from([10, FLOOR + 1, 2 * FLOOR + 1]),
)


@settings(max_examples=8, deadline=None)
@given(st.lists(STEPS, min_size=4, max_size=40))
def test_in_every_order_of_events_each_group_is_accepted_once_and_has_two_holders_at_most(
    plan: list[tuple[str, int, int]],
) -> None:
    world = World()
    race = Race(world)
    nodes = [race.slow, race.quick, world.provider("other")]
    for what, number, ms in plan:
        if what == "straggle":
            _straggle(race)
        else:
            _step(world, nodes[number], what, ms)
        race.learner.work()
        world.check()
    for node in nodes:
        node.join()
    finish(world, race.learner, nodes)
    world.check()
    world.check_replay()
    works = [each.work for each in world.statements() if isinstance(each, WorkAnswered)]
    assert len(works) == len(set(works))
    paid = sum(world.state.book.get(node.did, 0) for node in nodes)
    assert paid == 4 * world.run().opened.terms.versions * PACE["price_micro"]
    world.close()


def _straggle(race: Race) -> None:
    """The slow one takes what it gets, the quick one does the rest and waits until that is late."""
    race.slow.ask()
    while (granted := race.quick.ask()) is not None:
        race.quick.answer(granted)
        race.learner.work()
    race.quick.wait(2 * FLOOR + 1)


def _step(world: World, node: Provider, what: str, ms: int) -> None:
    if what == "rejoin":
        node.join()
    elif what == "ask":
        node.ask()
    elif what == "wait":
        node.wait(ms)
    elif what == "tick":
        world.tick(ms)
    elif node.leases:
        granted = next(iter(node.leases.values()))
        if what == "answer" and node.did == identity("slow").did:
            world.tick(FLOOR)
        try:
            node.answer(granted) if what == "answer" else node.give_back(granted.work)
        except refusals.Late:
            assert dict(world.state.nodes[node.did].ends)[granted.work] in ("expired", "overtaken")
