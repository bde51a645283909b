"""Requests come, stream and go at any time, and nobody's tokens or log-probabilities notice."""

import itertools
from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.engine.engine import (
    EngineBusy,
    EngineLimits,
    Event,
    InvalidRequest,
    LocalEngine,
    NonFiniteLogits,
    NotLoaded,
    Request,
    Ticket,
)
from archipel.records.rollouts import Rollout
from engine.engine_models import lively_state, small_config

CONFIG = small_config(max_position_embeddings=400)
STATE = lively_state(CONFIG)
BYTES_PER_POSITION = 2 * 2 * 2 * 16 * 4
"""Keys and values, layers, key heads, width, fp32."""
REQUEST = Request("a", (1, 2, 3), seed=5, num_rollouts=2, max_new_tokens=12)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def engine() -> LocalEngine:
    return loaded(EngineLimits())


def loaded(limits: EngineLimits) -> LocalEngine:
    engine = LocalEngine(CONFIG, limits=limits)
    engine.load(STATE)
    return engine


@cache
def alone(request: Request) -> list[Rollout]:
    """The completions of a request that an engine of its own served."""
    return list(loaded(EngineLimits()).generate([request])[0])


def bits(logprobs: Sequence[float]) -> bytes:
    return array("d", logprobs).tobytes()


@dataclass(frozen=True)
class Visit:
    """A request that comes before some step, and may be cancelled after some more."""

    request: Request
    arrives: int
    leaves: int | None


PROMPT_LENGTHS = (1, 3, 8, 9, 17, 60, 120, 250, 258)
requests = st.builds(
    Request,
    key=st.just("r"),
    prompt=st.sampled_from(PROMPT_LENGTHS).flatmap(
        lambda n: st.sampled_from((0, 1, 40)).map(
            lambda s: tuple((s + 7 * i * i) % 64 for i in range(n))
        )
    ),
    seed=st.integers(0, 2**64 - 1),
    num_rollouts=st.sampled_from((1, 1, 2, 3, 7)),
    max_new_tokens=st.sampled_from((1, 2, 9, 30, 70)),
    temperature=st.sampled_from((1.0, 1.0, 0.7, 0.0)),
    stop_tokens=st.sampled_from(((), (3,), (3, 9, 11))),
    salt=st.sampled_from(("one", "one", "other", None)),
)
visits = st.builds(
    Visit,
    requests,
    arrives=st.integers(0, 60),
    leaves=st.one_of(st.none(), st.none(), st.integers(0, 40)),
)
limits = st.builds(
    EngineLimits,
    max_slots=st.sampled_from((4, 6, 256)),
    # From barely the smallest batch of the longest request to more than anybody asks for.
    max_cache_bytes=st.sampled_from((4 * 336, 9 * 336, 2**20)).map(
        lambda n: n * BYTES_PER_POSITION
    ),
    max_prefill_tokens=st.sampled_from((16, 2048)),
    max_step_tokens=st.sampled_from((None, 1, 40, 64, 200)),
    block=st.sampled_from((16, 64, 256)),
    max_prefix_bytes=st.sampled_from((0, 64 * BYTES_PER_POSITION, 2**20)),
)


class Play:
    """What an engine gave while its visitors came and went."""

    def __init__(self, engine: LocalEngine, visits: list[Visit]) -> None:
        self.engine = engine
        self.tickets: dict[Ticket, Visit] = {}
        self.streamed: dict[tuple[Ticket, int], list[tuple[int, float]]] = defaultdict(list)
        self.ended: dict[tuple[Ticket, int], Rollout] = {}
        self.gone: set[Ticket] = set()
        last = max(visit.arrives for visit in visits)
        for step in itertools.count():
            if step > last and not engine.has_work:
                break
            self.move(visits, step)
            for event in engine.step():
                self.take(event)

    def move(self, visits: list[Visit], step: int) -> None:
        for visit in visits:
            if visit.arrives == step:
                self.tickets[self.engine.add(visit.request)] = visit
        for ticket, visit in self.tickets.items():
            leaves = visit.leaves is not None and visit.arrives + visit.leaves == step
            if leaves and self.engine.cancel(ticket):
                self.gone.add(ticket)

    def take(self, event: Event) -> None:
        owner = (event.ticket, event.rollout)
        assert event.ticket not in self.gone
        assert owner not in self.ended
        self.streamed[owner].append((event.token, event.logprob))
        if event.ended is not None:
            self.ended[owner] = event.ended


@settings(max_examples=8, deadline=None)
@given(limits=limits, visits=st.lists(visits, min_size=1, max_size=9))
def test_whoever_comes_or_goes_beside_it_and_however_prompts_are_cut_a_rollout_keeps_every_bit(
    limits: EngineLimits, visits: list[Visit]
) -> None:
    play = Play(loaded(limits), visits)
    for ticket, visit in play.tickets.items():
        for rollout, expected in enumerate(alone(visit.request)):
            streamed = play.streamed[ticket, rollout]
            assert [token for token, _ in streamed] == list(expected.tokens[: len(streamed)])
            got = bits([logprob for _, logprob in streamed])
            assert got == bits(expected.logprobs[: len(streamed)])
            if ticket not in play.gone:
                assert play.ended[ticket, rollout] == expected
                assert len(streamed) == len(expected.tokens)


def test_a_cancelled_slot_is_free_at_once() -> None:
    engine = loaded(EngineLimits(max_slots=4))
    first = engine.add(replace(REQUEST, num_rollouts=4))
    engine.step()
    second = engine.add(replace(REQUEST, num_rollouts=4))
    assert {event.ticket for event in engine.step()} == {first}
    assert engine.cancel(first)
    assert {event.ticket for event in engine.step()} == {second}


def test_a_late_request_runs_beside_the_others_if_the_limits_allow_it(engine: LocalEngine) -> None:
    tickets = {engine.add(REQUEST)}
    for length in (4, 40, 300):
        engine.step()
        tickets.add(engine.add(replace(REQUEST, prompt=(1,) * length, num_rollouts=8)))
    engine.step()
    assert {event.ticket for event in engine.step()} == tickets


def test_cancelling_what_waits_ended_or_never_was_disturbs_nobody() -> None:
    engine = loaded(EngineLimits(max_slots=4))
    running = engine.add(replace(REQUEST, num_rollouts=4))
    waiting = engine.add(REQUEST)
    engine.step()
    assert engine.cancel(waiting)
    assert not engine.cancel(waiting)
    assert not engine.cancel(Ticket(99))
    ended = {}
    while engine.has_work:
        ended |= engine.step().ended
    assert {ticket for ticket, _ in ended} == {running}
    assert not engine.cancel(running)
    assert len(engine.step()) == 0


def test_a_group_that_is_cancelled_while_half_of_it_waits_leaves_nothing_of_itself() -> None:
    engine = loaded(EngineLimits(max_slots=4))
    large = engine.add(replace(REQUEST, num_rollouts=10))
    assert len(engine.step()) == 4
    assert engine.cancel(large)
    assert not engine.has_work
    assert len(engine.step()) == 0
    after = replace(REQUEST, num_rollouts=4)
    assert engine.generate([after])[0] == tuple(alone(after))


def test_who_was_cancelled_asks_for_no_cache() -> None:
    """Longer sequences leave room for fewer; those of a request that is gone count no more."""
    engine = loaded(EngineLimits(max_cache_bytes=4 * 336 * BYTES_PER_POSITION))
    long, many = replace(REQUEST, max_new_tokens=300), replace(REQUEST, num_rollouts=20)
    engine.cancel(engine.add(long))
    first, second = engine.add(long), engine.add(long)
    engine.cancel(first)
    assert len(engine.step()) == 2, "the other one is as long"
    engine.cancel(second)
    engine.add(many)
    assert len(engine.step()) == 20


def test_a_request_longer_than_any_cache_is_refused_where_it_is_added(engine: LocalEngine) -> None:
    with pytest.raises(InvalidRequest, match="expected at most 400"):
        engine.add(replace(REQUEST, max_new_tokens=398))
    small = loaded(EngineLimits(max_cache_bytes=4 * 48 * BYTES_PER_POSITION))
    ticket = small.add(REQUEST)
    with pytest.raises(InvalidRequest, match="max_cache_bytes"):
        small.add(replace(REQUEST, max_new_tokens=60))
    assert {event.ticket for event in small.step()} == {ticket}


def test_new_weights_are_refused_while_requests_run(engine: LocalEngine) -> None:
    ticket = engine.add(REQUEST)
    engine.step()
    with pytest.raises(EngineBusy, match="has_work"):
        engine.load(STATE)
    with pytest.raises(EngineBusy, match="to itself"):
        engine.generate([REQUEST])
    engine.cancel(ticket)
    engine.load(STATE)
    assert engine.generate([REQUEST])[0] == tuple(alone(REQUEST))


def test_an_engine_without_weights_takes_no_request() -> None:
    with pytest.raises(NotLoaded, match="call load"):
        LocalEngine(CONFIG).add(REQUEST)


def test_broken_weights_drop_every_request_and_leave_no_trace(engine: LocalEngine) -> None:
    engine.load({name: torch.full_like(t, torch.nan) for name, t in STATE.items()})
    engine.add(REQUEST)
    engine.add(replace(REQUEST, prompt=(1,) * 40))
    with pytest.raises(NonFiniteLogits):
        engine.step()
    assert not engine.has_work
    engine.load(STATE)
    assert engine.generate([REQUEST])[0] == tuple(alone(REQUEST))


def test_a_batch_that_stops_half_way_leaves_nothing_behind(engine: LocalEngine) -> None:
    def stop(num_tokens: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.generate([REQUEST], stop)
    with pytest.raises(InvalidRequest):
        engine.generate([REQUEST, replace(REQUEST, prompt=(64,))])
    assert not engine.has_work
    assert engine.generate([REQUEST])[0] == tuple(alone(REQUEST))
