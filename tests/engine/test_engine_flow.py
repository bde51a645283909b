"""A long prompt holds nobody up: a step reads so much of it, and everybody who runs gets a token beside it."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.engine.attention import round_up
from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine, Request, Ticket
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.variants import VARIANTS
from archipel.engine.prefill import GRANULE
from archipel.engine.prompts import Prompts, Reading
from archipel.engine.scheduler import Admission
from archipel.model.config import DecoderConfig, Experts
from engine.engine_models import lively_state, small_config
from engine.test_engine_open import CONFIG, STATE, loaded

STEP = EngineLimits(max_slots=8, max_step_tokens=32, block=32)
SHORT = Request("short", (1, 2, 3), seed=5, num_rollouts=1, max_new_tokens=60)
LONG = replace(
    SHORT, prompt=tuple(i * i % 64 for i in range(300)), max_new_tokens=4, num_rollouts=3
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def read_by(engine: LocalEngine) -> int:
    return engine.counts["positions_read"]


def test_every_step_gives_a_token_to_whoever_runs_and_reads_no_more_than_it_may() -> None:
    engine = loaded(STEP)
    running = engine.add(SHORT)
    engine.step()
    entering = engine.add(LONG)
    tickets, steps = set[Ticket](), 0
    while entering not in tickets:
        before, steps = read_by(engine), steps + 1
        tickets = {event.ticket for event in engine.step()}
        assert running in tickets
        assert 0 < read_by(engine) - before <= 32
    assert steps == -(-300 // 32)


def test_a_prompt_that_is_cancelled_half_read_frees_its_slots_at_once() -> None:
    engine = loaded(replace(STEP, max_slots=4))
    large = engine.add(replace(LONG, num_rollouts=4))
    small = engine.add(replace(SHORT, num_rollouts=4))
    assert len(engine.step()) == 0
    assert engine.cancel(large)
    assert {event.ticket for event in engine.step()} == {small}
    assert not engine.cancel(large)


def test_a_short_prompt_overtakes_a_long_one() -> None:
    engine = loaded(STEP)
    long = engine.add(LONG)
    engine.step()
    short = engine.add(SHORT)
    assert {event.ticket for event in engine.step()} == {short}
    while engine.has_work:
        ended = engine.step().ended
        if (long, 0) in ended:
            return
    pytest.fail("the long one was never read")


@settings(max_examples=60, deadline=None)
@given(
    block=st.sampled_from((16, 64, 256)),
    budget=st.integers(1, 300),
    arrivals=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 700)), min_size=1, max_size=20),
)
def test_a_prompt_is_cut_by_its_own_length_and_waits_for_no_more_than_its_own_length_of_later_work(
    block: int, budget: int, arrivals: list[tuple[int, int]]
) -> None:
    prompts, cuts, came, clock = Prompts(block), {}, {}, 0
    for turn in itertools.count():
        for number, (when, length) in enumerate(arrivals):
            if when == turn:
                request = replace(SHORT, prompt=(1,) * length)
                prompts.add(Reading(request, Admission(Ticket(number), 0, (number,)), -1))
                came[number], cuts[number] = clock, []
        if prompts:
            batch = prompts.batch(budget)
            assert len({round_up(each.length, GRANULE) for each in batch}) == 1
            for each in batch:
                number = each.admission.ticket
                cuts[number].append((each.done, prompts.piece(each)))
                clock += prompts.piece(each)
                overtook = [n for n, when in came.items() if when > came[number] + each.length]
                if len(batch) == 1:
                    assert not any(cuts[n] for n in overtook)
            prompts.advance(batch)
        elif turn > 20:
            break
    for number, (_, length) in enumerate(arrivals):
        starts = range(0, length, block)
        assert cuts[number] == [(start, min(block, length - start)) for start in starts]


def mixed(engine: LocalEngine, requests: list[Request]) -> list[tuple[object, ...]]:
    """What each gave that came two steps after the one before it."""
    tickets, ended = [], {}
    for request in requests:
        tickets.append(engine.add(request))
        for _ in range(2):
            ended |= engine.step().ended
    while engine.has_work:
        ended |= engine.step().ended
    return [
        tuple(ended[ticket, i] for i in range(request.num_rollouts))
        for ticket, request in zip(tickets, requests, strict=True)
    ]


CROWD = [
    SHORT,
    LONG,
    replace(LONG, prompt=LONG.prompt[:70], seed=9, num_rollouts=2),
    replace(SHORT, prompt=LONG.prompt[:200], max_new_tokens=9),
]


@pytest.mark.parametrize(
    "kind", [pytest.param("experts", marks=pytest.mark.slow), "exact", "fingerprints"]
)
def test_in_small_pieces_everything_that_a_rollout_tells_is_the_same(kind: str) -> None:
    config: DecoderConfig = CONFIG
    if kind == "experts":
        config = small_config("qwen3_moe", experts=Experts(8, 3, 72, normalised=True))
    state = STATE if config is CONFIG else lively_state(config)
    told = replace(
        SHORT, tells_experts=kind == "experts", tells_fingerprints=kind == "fingerprints"
    )
    requests = [
        replace(each, tells_experts=told.tells_experts, tells_fingerprints=told.tells_fingerprints)
        for each in CROWD
    ]

    def engine(limits: EngineLimits) -> LocalEngine:
        cpu = torch.device("cpu")
        numbers = ExactArithmetic(config, VARIANTS["w7a8"], cpu) if kind == "exact" else None
        made = LocalEngine(config, arithmetic=numbers, limits=limits)
        made.load(state)
        return made

    alone = [engine(EngineLimits(block=32)).generate([each])[0] for each in requests]
    assert mixed(engine(STEP), requests) == alone
