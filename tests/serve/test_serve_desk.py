"""The desk: turns are fair between keys, who leaves is forgotten at once, a broken engine answers everybody."""

import errno
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from archipel.engine.engine import EngineLimits, LocalEngine
from archipel.engine.protocol import Event, Events, Ticket
from archipel.records.requests import Hand, InvalidRequest, Request, Steering
from archipel.records.rollouts import Rollout
from archipel.serve.defects import broken
from archipel.serve.desk import Desk, Room
from archipel.serve.question import Broken, Crowded, Refusal, TooLong
from archipel.serve.queues import UNBEGUN, Listener
from engine.engine_models import lively_state, small_config

ASKED = Request(key="", prompt=(1,), seed=0, num_rollouts=1, max_new_tokens=3)
LIMIT_S = 20


class Counting:
    """An engine that says 0, 1, 2, ... of each request, a token a step, when the test lets it."""

    def __init__(self, slots: int = 99) -> None:
        self.slots = slots
        """Sequences that get a token in a step: those of the first questions."""
        self.go = threading.Semaphore(0)
        self.added: list[str] = []
        self.cancelled: list[str] = []
        self.open: dict[Ticket, tuple[Request, int]] = {}
        self.error: Exception | None = None

    def add(self, request: Request) -> Ticket:
        if request.max_new_tokens > 9:
            raise InvalidRequest("too long")
        self.added.append(request.key)
        ticket = Ticket(len(self.added))
        self.open[ticket] = (request, 0)
        return ticket

    def holds(self, request: Request) -> int:
        return self.slots

    def cancel(self, ticket: Ticket) -> bool:
        request, _ = self.open.pop(ticket, (ASKED, 0))
        self.cancelled.append(request.key)
        return True

    def step(self) -> Events:
        assert self.go.acquire(timeout=LIMIT_S)
        if self.error is not None:
            self.open.clear()
            raise self.error
        events, left = Events([], [], [], {}), self.slots
        for ticket, (request, said) in list(self.open.items()):
            left -= request.num_rollouts
            if left < 0:
                break
            done = Rollout(tuple(range(said + 1)), (-1.0,) * (said + 1), False)
            self.open[ticket] = (request, said + 1)
            if said + 1 == request.max_new_tokens:
                del self.open[ticket]
            for rollout in range(request.num_rollouts):
                events.owners.append((ticket, rollout))
                events.tokens.append(100 * (request.first_rollout + rollout) + said)
                events.logprobs.append(-1.0)
                if ticket not in self.open:
                    events.ended[ticket, rollout] = done
        return events


class Heard:
    """What came of one question."""

    def __init__(self, name: str, key: str = "one", tokens: int = 3, choices: int = 1) -> None:
        self.tokens: list[int] = []
        self.of: dict[int, list[int]] = {}
        self._left = choices
        self.why: Refusal | None = None
        self.done = threading.Event()
        request = replace(ASKED, key=name, max_new_tokens=tokens, num_rollouts=choices)
        self.listener = Listener(request, key, self._hear, self._fail)

    def _hear(self, events: list[Event]) -> None:
        for event in events:
            self.tokens.append(event.token)
            self.of.setdefault(event.rollout, []).append(event.token)
        self._left -= sum(event.ended is not None for event in events)
        if not self._left:
            self.done.set()

    def _fail(self, why: Refusal) -> None:
        self.why = why
        self.done.set()


@pytest.fixture
def made() -> object:
    engine = Counting()
    desk = Desk(engine, Room(running=2, waiting=6, waiting_of_one=4))  # type: ignore[arg-type]
    yield engine, desk
    engine.go.release(1000)
    desk.close()


def waited(holds: Callable[[], bool]) -> None:
    ended = threading.Event()
    for _ in range(LIMIT_S * 100):
        if holds():
            return
        ended.wait(0.01)
    raise AssertionError("it never came to hold")


def test_a_question_is_answered_token_by_token(made) -> None:
    engine, desk = made
    heard = Heard("a")
    desk.ask(heard.listener)
    engine.go.release(3)
    assert heard.done.wait(LIMIT_S)
    assert heard.tokens == [0, 1, 2]
    assert desk.counts() == {"waiting": 0, "running": 0}


def test_one_key_that_asks_much_does_not_keep_another_waiting(made) -> None:
    engine, desk = made
    first = Heard("first")
    desk.ask(first.listener)
    waited(lambda: engine.added == ["first"])
    many = [Heard(f"many {n}") for n in range(4)]
    for each in many:
        desk.ask(each.listener)
    other = Heard("other", key="two")
    desk.ask(other.listener)
    engine.go.release(1000)
    assert other.done.wait(LIMIT_S)
    assert all(each.done.wait(LIMIT_S) for each in many)
    assert engine.added.index("other") <= 2, engine.added


def test_who_leaves_is_forgotten_before_the_next_step_whether_it_ran_or_waited(made) -> None:
    engine, desk = made
    running, waiting = [Heard("x"), Heard("y")], Heard("z")
    for each in (*running, waiting):
        desk.ask(each.listener)
    waited(lambda: len(engine.added) == 2)
    desk.leave(running[0].listener)
    desk.leave(waiting.listener)
    desk.leave(waiting.listener)
    engine.go.release(1000)
    assert running[1].done.wait(LIMIT_S)
    waited(lambda: engine.cancelled == ["x"])
    assert "z" not in engine.added
    assert len(running[0].tokens) <= 1


def test_who_leaves_while_it_waits_takes_nobody_else_along(made) -> None:
    engine, desk = made
    running = [Heard("x"), Heard("y")]
    for each in running:
        desk.ask(each.listener)
    waited(lambda: len(engine.added) == 2)
    waiting = [Heard(name) for name in "abc"]
    for each in waiting:
        desk.ask(each.listener)
    desk.leave(waiting[0].listener)
    desk.leave(waiting[2].listener)
    engine.go.release(1000)
    assert waiting[1].done.wait(LIMIT_S)
    assert engine.added == ["x", "y", "b"]


def test_no_more_wait_than_may(made) -> None:
    engine, desk = made
    for number in range(2):
        desk.ask(Heard(f"{number}").listener)
    waited(lambda: len(engine.added) == 2)
    for number in range(4):
        desk.ask(Heard(f"w{number}").listener)
    with pytest.raises(Crowded, match="4 of them with this key"):
        desk.ask(Heard("w").listener)
    for number in range(2):
        desk.ask(Heard(f"o{number}", key="two").listener)
    with pytest.raises(Crowded, match="6 questions are waiting"):
        desk.ask(Heard("o", key="two").listener)
    desk.ask(Heard("p", key="three").listener)  # has none waiting: the crowd is others'
    with pytest.raises(Crowded, match="7 questions are waiting, 1 of them"):
        desk.ask(Heard("q", key="three").listener)


def test_a_question_of_many_answers_goes_in_as_there_is_room_and_keeps_nobody_waiting(made) -> None:
    engine, desk = made
    desk.ask(Heard("long", tokens=9).listener)
    waited(lambda: engine.added == ["long"])
    wide = Heard("wide", key="two", choices=4)
    desk.ask(wide.listener)
    engine.go.release(1)
    waited(lambda: engine.added == ["long", "wide"])
    narrow = Heard("narrow", key="three")
    desk.ask(narrow.listener)
    engine.go.release(1000)
    assert wide.done.wait(LIMIT_S)
    assert narrow.done.wait(LIMIT_S)
    assert engine.added[:4] == ["long", "wide", "narrow", "wide"], (
        "no part of it goes in before who waits"
    )
    assert wide.of == {choice: [100 * choice + said for said in range(3)] for choice in range(4)}
    assert desk.counts() == {"waiting": 0, "running": 0}


def test_a_question_of_many_answers_takes_turns_with_its_own_keys_and_is_not_starved() -> None:
    """However many narrow ones come, each of its parts waits behind those alone that were there before."""
    engine = Counting(slots=4)
    desk = Desk(engine, Room(running=1))  # type: ignore[arg-type]
    wide = Heard("wide", choices=3)
    desk.ask(wide.listener)
    waited(lambda: engine.added == ["wide"])
    narrow = [Heard(f"{number}") for number in range(9)]
    for each in narrow:
        desk.ask(each.listener)
        engine.go.release(1)
    engine.go.release(1000)
    assert wide.done.wait(LIMIT_S)
    assert all(each.done.wait(LIMIT_S) for each in narrow)
    desk.close()
    places = [place for place, name in enumerate(engine.added) if name == "wide"]
    assert len(places) == 3
    assert places[1] > 1, "who came meanwhile is not kept waiting"
    assert places[2] <= 11


def test_of_one_key_the_engine_has_few_that_have_not_begun_so_that_another_waits_for_few() -> None:
    engine = Counting(slots=1)
    desk = Desk(engine, Room(running=30))  # type: ignore[arg-type]
    many = [Heard(f"{number}", tokens=1) for number in range(20)]
    for each in many:
        desk.ask(each.listener)
    waited(lambda: len(engine.added) == UNBEGUN)
    other = Heard("other", key="two", tokens=1)
    desk.ask(other.listener)
    engine.go.release(UNBEGUN + 2)
    assert other.done.wait(LIMIT_S)
    assert sum(each.done.is_set() for each in many) <= UNBEGUN + 2
    engine.go.release(1000)
    assert all(each.done.wait(LIMIT_S) for each in many)
    desk.close()


def test_who_leaves_takes_all_parts_of_its_question_along(made) -> None:
    engine, desk = made
    engine.slots = 4
    wide = Heard("wide", choices=5, tokens=9)
    desk.ask(wide.listener)
    engine.go.release(2)
    waited(lambda: engine.added == ["wide", "wide"])
    desk.leave(wide.listener)
    engine.go.release(1000)
    waited(lambda: desk.counts() == {"waiting": 0, "running": 0})
    waited(lambda: engine.cancelled == ["wide", "wide"])
    after = Heard("after")
    desk.ask(after.listener)
    assert after.done.wait(LIMIT_S)
    assert engine.added == ["wide", "wide", "after"]


def test_an_engine_that_fails_answers_a_question_of_many_answers_once(made) -> None:
    engine, desk = made
    engine.slots = 4
    wide, told = Heard("wide", choices=5, tokens=9), list[Refusal]()
    wide.listener.fail = told.append
    desk.ask(wide.listener)
    engine.go.release(2)
    waited(lambda: engine.added == ["wide", "wide"] and desk.counts()["waiting"] == 1)
    engine.error = ArithmeticError("NaN")
    engine.go.release(1)
    waited(lambda: bool(told))
    engine.error = None
    again = Heard("again")
    desk.ask(again.listener)
    engine.go.release(1000)
    assert again.done.wait(LIMIT_S)
    assert engine.added == ["wide", "wide", "again"]
    assert len(told) == 1


def test_answers_that_went_in_by_parts_are_bit_for_bit_those_that_went_in_together() -> None:
    config = small_config(max_position_embeddings=64)
    engine = LocalEngine(config, limits=EngineLimits(max_slots=5, max_step_tokens=16, block=16))
    engine.load(lively_state(config))
    hands = list[int]()

    class Noting(Steering):
        def hand(self, rollout: int) -> Hand:
            hands.append(rollout)
            return Still()

    request = Request("", (1, 2, 3), 7, 6, 12, first_rollout=2, steering=Noting())
    (whole,) = engine.generate([request])
    assert sorted(hands) == list(range(6))
    hands.clear()
    desk, ended, done = Desk(engine), dict[int, Rollout](), threading.Event()

    def hear(events: list[Event]) -> None:
        ended.update({event.rollout: event.ended for event in events if event.ended is not None})
        if len(ended) == 6:
            done.set()

    desk.ask(Listener(request, "one", hear, lambda why: None))
    assert done.wait(LIMIT_S)
    desk.close()
    assert tuple(ended[number] for number in range(6)) == whole
    assert sorted(hands) == list(range(6))


class Still(Hand):
    """Bends nothing."""

    def steer(self, logits: Any) -> None:
        pass

    def took(self, token: int) -> None:
        pass


def test_an_engine_that_cannot_cancel_does_not_end_the_desk(made) -> None:
    engine, desk = made
    one = Heard("1", tokens=9)
    desk.ask(one.listener)
    waited(lambda: engine.added == ["1"])

    def fails(ticket: Ticket) -> bool:
        raise OSError("gone")

    engine.cancel = fails
    desk.leave(one.listener)
    engine.go.release(1)
    waited(lambda: desk.counts()["running"] == 0)
    engine.open.clear()
    two = Heard("2")
    desk.ask(two.listener)
    engine.go.release(100)
    assert two.done.wait(LIMIT_S)
    assert two.why is None


def test_what_an_unknown_error_says_is_told_to_nobody(made) -> None:
    engine, desk = made
    one = Heard("1")
    desk.ask(one.listener)
    waited(lambda: engine.added == ["1"])
    engine.error = KeyError("a secret prompt")
    engine.go.release(1)
    assert one.done.wait(LIMIT_S)
    assert "secret" not in str(one.why)
    assert "KeyError" in str(one.why)


def test_what_the_engine_refuses_is_told_to_whoever_asked_and_nobody_else(made) -> None:
    engine, desk = made
    good, bad = Heard("good"), Heard("bad", tokens=10)
    desk.ask(bad.listener)
    desk.ask(good.listener)
    engine.go.release(1000)
    assert bad.done.wait(LIMIT_S)
    assert good.done.wait(LIMIT_S)
    assert isinstance(bad.why, TooLong)
    assert good.why is None


def test_an_engine_that_fails_answers_everybody_and_the_next_question_begins_anew(made) -> None:
    engine, desk = made
    one, two = Heard("1"), Heard("2")
    desk.ask(one.listener)
    desk.ask(two.listener)
    waited(lambda: len(engine.added) == 2)
    engine.error = ArithmeticError("NaN")
    engine.go.release(1)
    assert one.done.wait(LIMIT_S)
    assert two.done.wait(LIMIT_S)
    assert isinstance(one.why, Broken)
    assert "NaN" in str(two.why)
    engine.error = None
    again = Heard("3")
    desk.ask(again.listener)
    engine.go.release(100)
    assert again.done.wait(LIMIT_S)
    assert again.tokens == [0, 1, 2]


def test_a_turn_that_fails_anywhere_answers_all_whom_it_was_for_and_the_next_goes_on(made) -> None:
    """Without memory an event may be lost on its way to whoever asked: no desk may be lost with it."""
    engine, desk = made
    one, two = Heard("1"), Heard("2")
    hear = one.listener.hear

    def short(events: list[Event]) -> None:
        one.listener.hear = hear  # type: ignore[method-assign]
        raise MemoryError

    one.listener.hear = short  # type: ignore[method-assign]
    desk.ask(one.listener)
    desk.ask(two.listener)
    waited(lambda: len(engine.added) == 2)
    engine.go.release(1)
    assert one.done.wait(LIMIT_S)
    assert two.done.wait(LIMIT_S)
    assert "MemoryError" in str(one.why)
    again = Heard("3")
    desk.ask(again.listener)
    engine.go.release(100)
    assert again.done.wait(LIMIT_S)
    assert again.tokens == [0, 1, 2]


def test_what_the_system_does_not_give_now_is_no_defect_and_may_be_asked_for_again() -> None:
    for lack in (MemoryError(), OSError(errno.EMFILE, "x")):
        assert broken(lack).status == 503
        assert "ask again" in str(broken(lack))
    assert broken(OSError(errno.EIO, "x")).status == broken(ValueError("x")).status == 500


def test_an_errand_is_done_between_two_steps_and_one_that_fails_fails_alone(made) -> None:
    engine, desk = made
    heard = Heard("a")
    desk.ask(heard.listener)
    waited(lambda: engine.added == ["a"])
    sound = desk.run(lambda given: given is engine)
    broken = desk.run(lambda given: 1 // 0)
    engine.go.release(3)
    assert sound.result(LIMIT_S) is True
    with pytest.raises(ZeroDivisionError):
        broken.result(LIMIT_S)
    assert heard.done.wait(LIMIT_S)
    assert heard.tokens == [0, 1, 2]
    assert desk.run(lambda given: 7).result(LIMIT_S) == 7, "an idle desk does them too"


def test_errands_of_one_key_do_not_keep_anothers_waiting_and_no_more_wait_than_may(made) -> None:
    engine, desk = made
    desk.ask(Heard("a", tokens=9).listener)
    waited(lambda: engine.added == ["a"])
    done: list[str] = []
    many = [desk.run(lambda _, n=n: done.append(f"one {n}"), key="one") for n in range(5)]
    other = desk.run(lambda _: done.append("two"), key="two")
    with pytest.raises(Crowded, match="6 texts wait"):
        desk.run(lambda _: None, key="one")
    third = desk.run(lambda _: done.append("three"), key="three")  # has none waiting
    engine.go.release(1000)
    other.result(LIMIT_S)
    third.result(LIMIT_S)
    assert [each.result(LIMIT_S) for each in many] == [None] * 5
    assert done.index("two") <= 1


def test_a_desk_that_closes_answers_those_whose_errands_wait(made) -> None:
    engine, desk = made
    desk.ask(Heard("a").listener)
    waited(lambda: engine.added == ["a"])
    errand = desk.run(lambda _: 1)
    closing = threading.Thread(target=desk.close)
    closing.start()
    engine.go.release(1000)
    closing.join(LIMIT_S)
    assert errand.done()
    with pytest.raises(Broken):
        desk.run(lambda _: 1)
