"""What becomes of a door's questions: withdrawn, too old, done again, kept, in whatever order."""

import random
from contextlib import suppress
from typing import Any

import pytest

from archipel.lab import refusals
from archipel.lab.garbage import needed
from archipel.lab.programmes import door
from archipel.lab.views import run_view
from archipel.market.journal import wallet
from archipel.records.stakes import StakeGiven
from keyring import delegation
from people import identity, ref
from questions import asked_next, hand, kept, open_door, taken, trained, trainer
from world import World


def test_what_is_withdrawn_is_gone_with_what_goes_on_from_it(world: World) -> None:
    asker, node = open_door(world), trainer(world)
    asker.adapt("one")
    asker.adapt("two", after=1)
    asker.adapt("three", after=2)
    asker.adapt("other")
    asker.withdraw(1)
    assert asked_next(node) == 4
    assert node.ask() is None
    assert run_view(world.state, world.run("door"), world.now_ms).progress["questions_gone"] == 3
    asker.withdraw(1, 2, 900)  # again, and one that was never asked: nothing to take back
    with pytest.raises(refusals.Unknown, match="not kept"):
        asker.adapt(after=2)
    world.check()


def test_a_question_that_is_withdrawn_in_a_node_s_hands_is_paid_and_not_kept(world: World) -> None:
    asker, node = open_door(world), trainer(world)
    asker.adapt()
    granted = taken(node)
    asker.withdraw(1)
    world.check()
    assert ref(b"step").digest in needed(world.state)
    node.answer(granted)
    assert kept(asker) == set()
    assert world.state.book[wallet(node.did)] == granted.price_micro
    world.check()


def test_a_question_nobody_answers_in_time_and_an_answer_nobody_fetches_go(world: World) -> None:
    asker, node = open_door(world, keep_ms=10_000), trainer(world)
    asker.adapt("in time", lasts_ms=1000)
    asker.adapt("behind it", after=1)
    granted = taken(node)
    asker.adapt("too late", lasts_ms=1000)
    world.tick(2000)
    assert node.ask() is None, "the second waits for the first, the third is too old"
    node.answer(granted)
    assert kept(asker) == {1}, "what is in a node's hands may still come"
    world.check()
    assert asked_next(node) == 2
    assert 3 not in door.course(world.run("door")).asked
    world.tick(10_000)
    asker.adapt("later")
    assert kept(asker) == set()
    with pytest.raises(refusals.Unknown):
        asker.adapt(after=1)
    world.check()
    world.check_replay()


def test_what_is_too_old_is_given_to_nobody_and_what_a_node_has_is_not_too_old(
    world: World,
) -> None:
    asker, one, two = open_door(world), hand(world, "one"), hand(world, "two")
    asker.sample("in a node's hands", lasts_ms=1000)
    asker.sample("with nobody", lasts_ms=1000)
    granted = taken(one)
    world.tick(1000)
    assert two.ask() is None
    asker.sample("swept by this")
    assert set(door.course(world.run("door")).asked) == {1, 3}
    one.answer(granted)
    assert kept(asker) == {1}


def test_a_tenant_is_not_charged_for_a_lease_that_came_back(world: World) -> None:
    asker, node = open_door(world), hand(world, "node")
    asker.sample("one", "ann")
    asker.sample("two", "bob")
    node.give_back(taken(node).work)
    assert [asked_next(node) for _ in range(2)] == [1, 2]


def test_another_state_alone_is_a_difference(world: World) -> None:
    asker = open_door(world, adapt="staked", deposit_micro=1)
    first, again = hand(world, "first"), hand(world, "again")
    for each in (first, again):
        world.speak(world.operator, StakeGiven, node=each.did, micro=1)
    asker.adapt()
    assert asked_next(first) == 1
    asker.adapt(again=1)
    again.answer(taken(again), state=world.put(b"another state"))
    assert not door.course(world.run("door")).compared[-1].is_same


def test_training_is_done_again_by_another_operator_and_a_difference_is_told(
    world: World,
) -> None:
    asker = open_door(world, adapt="staked", deposit_micro=1)
    boss = identity("boss")
    first, sibling, honest, odd = (
        hand(world, name, bits=bits)
        for name, bits in (("first", ""), ("sibling", ""), ("honest", ""), ("odd", "!"))
    )
    for each in (first, sibling):
        each.join(delegation=delegation(boss, each.did))
    for each in (first, honest, odd):
        world.speak(world.operator, StakeGiven, node=each.did, micro=1)
    asker.adapt()
    assert asked_next(first) == 1
    for node, is_same in ((honest, True), (odd, False)):
        number = asker.adapt(again=1)
        assert first.ask() is None
        assert sibling.ask() is None
        assert asked_next(node) == number
        assert door.course(world.run("door")).compared[-1].is_same is is_same
    shown = run_view(world.state, world.run("door"), world.now_ms).progress
    assert (shown["again_same"], shown["again_different"]) == (1, 1)
    (told,) = shown["differences"]
    assert "question 1, done by " + first.did in told
    assert told.endswith("machines of one class")
    with pytest.raises(refusals.WrongShape, match="which it does again, has 100"):
        asker.adapt(again=1, num_tokens=99)
    world.check()


def test_blobs_are_kept_as_long_as_somebody_needs_them(world: World) -> None:
    asker, node = open_door(world), trainer(world)
    asker.adapt("operations")
    operations = ref(b"operations").digest
    assert operations in needed(world.state)
    granted = taken(node)
    assert operations in needed(world.state)
    node.answer(granted)
    answer = trained(asker, 1)
    blobs = {operations, answer.state.digest, answer.outcomes.digest}
    assert blobs <= needed(world.state)
    asker.withdraw(1)
    assert not blobs & needed(world.state)


class Anything:
    """A door and its nodes that do whatever chance says."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.chance = world, random.Random(seed)
        self.asker = open_door(world, queued=12, keep_ms=30_000)
        self.nodes = [trainer(world), *(hand(world, name) for name in "abc")]

    def step(self) -> None:
        events = (self.ask, self.work, self.withdraw, self.wait)
        with suppress(refusals.Refused):
            self.chance.choices(events, (5, 9, 1, 2))[0]()
        for node in self.nodes:
            node.leases = {w: g for w, g in node.leases.items() if w in self.world.state.leases}
        self.world.check()

    def ask(self) -> None:
        slice_, chance = door.course(self.world.run("door")), self.chance
        known = sorted({*slice_.asked, *slice_.answered})
        said: dict[str, Any] = {"tenant": chance.choice("xyz"), "share": chance.randrange(1, 4)}
        if chance.random() < 0.4:
            self.asker.sample(f"{chance.random()}", **said)
            return
        if known and chance.random() < 0.6:
            said["after"] = chance.choice(known)
        self.asker.adapt(f"{chance.random()}", lasts_ms=20_000, **said)

    def work(self) -> None:
        node = self.chance.choice(self.nodes)
        if not node.leases or self.chance.random() < 0.2:
            node.ask()
            return
        granted = self.chance.choice(list(node.leases.values()))
        if self.chance.random() < 0.2:
            node.give_back(granted.work)
        else:
            node.answer(granted)

    def withdraw(self) -> None:
        self.asker.withdraw(self.chance.randrange(1, self.asker.next_number + 1))

    def wait(self) -> None:
        self.world.tick(self.chance.choice((10, 500, 5000)))


def test_any_order_of_events_keeps_every_question_in_one_place(world: World) -> None:
    story = Anything(world, 5)
    for _ in range(220):
        story.step()
    counts = door.course(world.run("door")).counts
    assert min(counts.adapted, counts.sampled, counts.gone, counts.came_back) > 3
    world.check_replay()
    world.stop_run("door")
    for node in story.nodes:
        for granted in list(node.leases.values()):
            node.answer(granted)
    slice_ = door.course(world.run("door"))
    assert not any((slice_.asked, slice_.answered, slice_.held, slice_.ready))
    assert "door" not in world.state.live
    world.check()
