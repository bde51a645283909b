"""A door's questions at a lab: who may ask and answer, in which order, what is paid, and what becomes of them."""

import random
from contextlib import suppress
from typing import Any

import pytest

from archipel.lab import refusals
from archipel.lab.garbage import needed
from archipel.lab.programmes import door, door_shares
from archipel.lab.programmes.door_shares import Shares, charged, cost, given_back, turn
from archipel.lab.views import run_view, waits
from archipel.market.journal import wallet
from archipel.records.door import AdaptQuestion, policy_of
from archipel.records.kinds.adapt import AdaptAnswer, AdaptSpec
from archipel.records.kinds.sample import SampleSpec
from archipel.records.money import CreditsSettled, RunFunded
from archipel.records.stakes import StakeGiven
from archipel.records.statements import LeaseGranted
from keyring import delegation
from people import identity, ref
from questions import DOOR, FORM, Asker, Hand, hand, open_door, trainer
from world import World


def asked_next(node: Hand) -> int | None:
    """The question of the lease that it is given, which it then answers."""
    granted = node.ask()
    if granted is None:
        return None
    node.answer(granted)
    assert isinstance(granted.spec, AdaptSpec | SampleSpec)
    return granted.spec.question


def kept(asker: Asker) -> set[int]:
    return set(door.course(asker.world.run(asker.run)).answered)


def trained(asker: Asker, number: int) -> AdaptAnswer:
    answer = door.course(asker.world.run(asker.run)).answered[number].answer
    assert isinstance(answer, AdaptAnswer)
    return answer


def taken(node: Hand) -> LeaseGranted:
    granted = node.ask()
    assert granted is not None
    return granted


def test_a_door_s_run_hands_out_work_at_once_and_stays_open(world: World) -> None:
    asker = open_door(world)
    node = trainer(world)
    assert node.ask() is None
    (wait,) = waits(world.state, world.now_ms)
    assert (wait.owner, wait.waiting_for) == (DOOR.did, "questions of its door")
    asker.adapt()
    assert asked_next(node) == 1
    assert run_view(world.state, world.run("door"), world.now_ms).progress["adapted"] == 1
    world.check()
    world.check_replay()


def test_only_the_run_s_door_asks_one_number_after_another(world: World) -> None:
    asker = open_door(world)
    with pytest.raises(refusals.NotAllowed, match="is not the door of run door"):
        Asker(world, "door", identity("other")).adapt()
    world.open_run("rl")
    with pytest.raises(refusals.NotAllowed, match="is not the door of run rl"):
        asker.ask(AdaptQuestion(again=1), run="rl")
    with pytest.raises(refusals.Conflict, match="next of door has number 1"):
        asker.adapt(number=2)
    asker.adapt()
    with pytest.raises(refusals.Conflict, match="next of door has number 2"):
        asker.adapt(number=1)
    with pytest.raises(refusals.Unknown, match="no run nowhere"):
        asker.adapt(run="nowhere")
    world.stop_run("door")
    with pytest.raises(refusals.Conflict, match="nothing is asked in it"):
        asker.adapt()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"num_tokens": 10_001}, "10001 tokens; door takes at most 10000"),
        (
            {"form": FORM.model_copy(update={"rank": 9})},
            "an adapter of rank 9; door takes at most 8",
        ),
        ({"text": "o" * 1001}, "operations of 1001 bytes; this run takes at most 1000"),
        ({"state": ref(b"s" * 2001)}, "a state of 2001 bytes; this run takes at most 2000"),
        ({"operations": ref(b"never sent")}, "was not uploaded"),
        ({"state": ref(b"never sent")}, "was not uploaded"),
        ({"after": 1}, "question 1 of door is not kept"),
        ({"again": 1}, "question 1 of door is not kept"),
    ],
)
def test_a_question_beyond_its_run_s_bounds_is_refused(world: World, said: dict, why: str) -> None:
    asker = open_door(world)
    with pytest.raises(refusals.Refused, match=why):
        asker.adapt(**said)
    assert asker.next_number == 1


def test_a_sample_has_bounds_and_no_state_comes_of_it(world: World) -> None:
    asker = open_door(world)
    for said, why in (
        ({"num_tokens": 10_001}, "at most 10000"),
        ({"text": "p" * 1001}, "prompts of 1001 bytes"),
        ({"adapter": ref(b"a" * 2001)}, "an adapter of 2001 bytes"),
    ):
        with pytest.raises(refusals.TooLarge, match=why):
            asker.sample(**said)
    asker.sample()
    with pytest.raises(refusals.Conflict, match="question 1 of door samples"):
        asker.adapt(after=1)
    with pytest.raises(refusals.Unknown, match="question 1 of door is not kept"):
        asker.adapt(again=1)
    asked_next(hand(world, "anybody"))
    for start in ("after", "again"):
        with pytest.raises(refusals.Conflict, match="question 1 of door samples"):
            asker.adapt(**{start: 1})


def test_questions_and_answers_have_room_for_so_many_together(world: World) -> None:
    asker, node = open_door(world, queued=2), trainer(world)
    asker.adapt()
    asker.adapt()
    asked_next(node)
    with pytest.raises(refusals.Busy, match="1 questions of door wait and 1 answers are kept"):
        asker.adapt()
    asker.withdraw(1)
    assert asker.adapt() == 3
    world.check()


def test_only_whom_the_run_trusts_trains_and_anybody_samples(world: World) -> None:
    asker, stranger = open_door(world), hand(world, "stranger")
    asker.adapt()
    assert stranger.ask() is None
    (wait,) = waits(world.state, world.now_ms)
    assert "only keys that the run trusts train in it" in wait.advice
    asker.sample()
    assert asked_next(stranger) == 2
    assert asked_next(trainer(world)) == 1
    world.check()


def test_where_a_deposit_is_asked_for_who_vouches_trains(world: World) -> None:
    asker, node = open_door(world, adapt="staked", deposit_micro=500), hand(world, "stranger")
    asker.adapt()
    asker.sample()
    assert asked_next(node) == 2, "sampling asks for no deposit"
    assert node.ask() is None
    world.speak(world.operator, StakeGiven, node=node.did, micro=499)
    assert node.ask() is None
    world.speak(world.operator, StakeGiven, node=node.did, micro=1)
    assert asked_next(node) == 1


def test_a_question_waits_for_the_state_that_it_goes_on_from(world: World) -> None:
    asker, node = open_door(world), trainer(world)
    first = asker.adapt("one")
    second = asker.adapt("two", after=first)
    third = asker.adapt("three", after=second)
    taken(node)
    assert node.ask() is None
    node.join()  # what it held goes back
    states, answers = [], []
    for number in (first, second, third):
        spec = (granted := taken(node)).spec
        assert isinstance(spec, AdaptSpec)
        assert spec.question == number
        assert (spec.begins is None) == (number != first)
        node.answer(granted)
        states.append(spec.state)
        answers.append(trained(asker, number).state)
    assert states == [None, *answers[:2]]
    late = asker.adapt("four", after=third)
    spec = taken(node).spec
    assert isinstance(spec, AdaptSpec)
    assert (spec.question, spec.state) == (late, answers[2])
    world.check()
    world.check_replay()


def test_a_question_that_comes_back_goes_to_another_and_its_late_answer_is_refused(
    world: World,
) -> None:
    asker, slow, quick = open_door(world), hand(world, "slow"), hand(world, "quick")
    asker.sample()
    granted = taken(slow)
    assert quick.ask() is None
    world.tick(granted.deadline_ms - world.now_ms + 1)
    assert asked_next(quick) == 1
    with pytest.raises(refusals.Late):
        slow.answer(granted)
    view = run_view(world.state, world.run("door"), world.now_ms)
    assert (view.progress["sampled"], view.progress["leases_came_back"]) == (1, 1)
    world.check()


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        ({"num_tokens": 99}, "num_tokens says 99; the operations of question 1 have 100"),
        ({"state": ref(b"s" * 2001)}, "a state of 2001 bytes"),
        ({"outcomes": ref(b"s" * 1001)}, "outcomes of 1001 bytes"),
        ({"state": ref(b"never sent")}, "was not uploaded"),
    ],
)
def test_training_that_is_not_what_was_asked_is_refused(world: World, lie: dict, why: str) -> None:
    asker, node = open_door(world), trainer(world)
    asker.adapt()
    granted = taken(node)
    with pytest.raises(refusals.Refused, match=why):
        node.answer(granted, **lie)
    node.answer(granted)
    assert kept(asker) == {1}


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        ({"num_tokens": 101}, "num_tokens says 101; question 1 allows 100"),
        ({"policy": ref(b"others").digest}, "sampled from"),
        ({"result": ref(b"s" * 1001)}, "samples of 1001 bytes"),
    ],
)
def test_samples_that_are_not_what_was_asked_are_refused(world: World, lie: dict, why: str) -> None:
    asker, node = open_door(world), hand(world, "node")
    asker.sample()
    granted = taken(node)
    with pytest.raises(refusals.Refused, match=why):
        node.answer(granted, **lie)


def test_the_policy_of_a_sample_is_the_model_and_the_adapter_over_it(world: World) -> None:
    asker, node = open_door(world), hand(world, "node")
    over = world.put(b"adapter")
    asker.sample()
    asker.sample(adapter=over)
    files = [("config.json", ref(b"{}").digest)]
    for adapter in (None, over.digest):
        spec = (granted := taken(node)).spec
        assert isinstance(spec, SampleSpec)
        assert spec.policy == policy_of(files, adapter)
        node.answer(granted)
    assert policy_of(files, None) != policy_of(files, over.digest)
    assert policy_of(files, None) != policy_of([("other.json", files[0][1])], None)


def test_answers_are_paid_by_the_token_from_what_sponsors_gave(world: World) -> None:
    asker, node, sponsor = open_door(world), hand(world, "node"), identity("sponsor")
    given = {"account": sponsor.did, "direction": "in", "micro": 150, "reference": "invoice"}
    world.speak(world.operator, CreditsSettled, **given)
    world.speak(sponsor, RunFunded, run="door", micro=150)
    for n in range(3):
        asker.sample(f"prompt {n}")
    for _ in range(2):
        granted = taken(node)
        assert granted.price_micro == 100
        node.answer(granted)
    assert node.ask() is None, "50 micro-credits are left, and a question may take 100"
    paid = world.state.book[wallet(node.did)]
    assert paid == 2 * 50, "for the tokens that were sampled, not for those that were allowed"
    world.stop_run("door")
    assert world.state.book[wallet(sponsor.did)] == 50
    world.check()


def test_training_is_paid_for_the_tokens_that_the_door_counted(world: World) -> None:
    asker, node = open_door(world), trainer(world)
    asker.adapt(num_tokens=1001)
    granted = taken(node)
    node.answer(granted)
    assert granted.price_micro == world.state.book[wallet(node.did)] == 2002
    assert world.state.book[wallet(world.operator.did)] == -2002


def test_tenants_share_the_nodes_by_weight_and_who_asks_a_lot_delays_nobody(world: World) -> None:
    asker, node = open_door(world), hand(world, "node")
    for n in range(8):
        asker.sample(f"many {n}", "many", share=1)
    for n in range(8):
        asker.sample(f"few {n}", "few", share=3)
    first = [asked_next(node) for _ in range(8)]
    few = [number for number in first if number is not None and number > 8]
    assert len(few) == 6, "three quarters of the first eight"
    assert few == sorted(few), "of one tenant the oldest first"
    assert {asked_next(node) for _ in range(8)} | set(first) == set(range(1, 17))


def test_who_asked_nothing_for_a_while_saves_nothing_up() -> None:
    shares = Shares()
    for _ in range(5):
        shares = charged(shares, "busy", cost(100, 1))
    assert turn(shares, "new") == shares.clock > 0
    shares = charged(shares, "new", cost(100, 1))
    assert turn(shares, "busy") <= turn(shares, "new")
    assert turn(given_back(shares, "new", cost(100, 1)), "new") == shares.clock
    assert given_back(shares, "nobody", 7) == shares


def test_a_weight_divides_what_a_question_costs_and_none_is_free() -> None:
    assert cost(100, 2) * 2 == cost(100, 1)
    assert cost(1, 10_000) == 1


def test_tenants_that_are_remembered_are_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_shares, "MAX_TENANTS", 3)
    shares = Shares()
    for n in range(9):
        shares = charged(shares, f"tenant {n}", 10)
        assert len(shares.used) <= 3
        assert f"tenant {n}" in shares.used


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
