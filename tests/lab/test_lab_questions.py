"""A door's questions at a lab: who may ask and answer, in which order, what is paid, and what becomes of them."""

import pytest

from archipel.lab import refusals
from archipel.lab.programmes import door_shares
from archipel.lab.programmes.door_shares import Shares, charged, cost, given_back, turn
from archipel.lab.views import run_view, waits
from archipel.market.journal import wallet
from archipel.records.door import AdaptQuestion, policy_of
from archipel.records.kinds.adapt import AdaptSpec
from archipel.records.kinds.sample import SampleSpec
from archipel.records.money import CreditsSettled, RunFunded
from archipel.records.stakes import StakeGiven
from people import identity, ref
from questions import DOOR, FORM, Asker, asked_next, hand, kept, open_door, taken, trained, trainer
from world import World


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
