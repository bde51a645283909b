"""Guessed tokens change how many steps an answer takes, and no bit of it."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from archipel.engine import pace
from archipel.engine.arithmetic import FloatArithmetic
from archipel.engine.capacity import EngineLimits
from archipel.engine.draft_model import DraftModel
from archipel.engine.drafts import ROWS
from archipel.engine.engine import Events, LocalEngine, Request, Ticket
from archipel.engine.exact.arithmetic import ExactArithmetic
from archipel.engine.exact.variants import VARIANTS
from archipel.engine.fused import FusedDecoder
from archipel.engine.guessing import Owner, Running
from archipel.engine.lookup import Given, LookUp
from archipel.engine.pace import PRICE, REST, Pace
from archipel.engine.quantised.arithmetic import arithmetic_for
from archipel.model.config import DecoderConfig, Experts
from archipel.records.cuts import Cut
from archipel.records.requests import Hand, InvalidRequest
from archipel.records.rollouts import Rollout
from engine.engine_models import lively_state, ragged_requests, small_config
from engine.test_engine_adapters import lively_adapter

CONFIG = small_config()
STATE = lively_state(CONFIG)
CPU = torch.device("cpu")
WIDE = small_config(hidden_size=128, intermediate_size=128)
CUT = Cut(top_k=9, top_p=0.8)
REQUEST = Request("a", (1, 2, 3), seed=5, num_rollouts=1, max_new_tokens=64)


@pytest.fixture(autouse=True, params=[1, pytest.param(2, marks=pytest.mark.slow)])
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guesses that are made even where they do not pay."""
    monkeypatch.setattr(pace, "PRICE", 0.02)


@dataclass
class Guesser:
    """Knows what will be sampled, and says something else with chance `wrong`."""

    truth: dict[tuple[str, int], tuple[int, ...]]
    wrong: float
    vocabulary: int
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    ended: set[Owner] = field(default_factory=set)
    price: float = 0.0

    def propose(self, wanted: Sequence[tuple[Running, int]]) -> list[Sequence[int]]:
        return [self._one(running, most) for running, most in wanted]

    def _one(self, running: Running, most: int) -> Sequence[int]:
        new = running.num_new
        coming = self.truth[running.request.key, running.owner[1]][new : new + most]
        return [
            self.rng.randrange(self.vocabulary) if self.rng.random() < self.wrong else token
            for token in coming
        ]

    def end(self, owner: Owner) -> None:
        assert owner not in self.ended
        self.ended.add(owner)


def served(engine: LocalEngine, requests: Sequence[Request]) -> list[list[Rollout]]:
    """What requests get that come one after the other while it runs; every event is held against them."""
    tickets: dict[Ticket, int] = {}
    tokens: dict[tuple[Ticket, int], list[tuple[int, float]]] = {}
    done: dict[tuple[Ticket, int], Rollout] = {}
    left = list(requests)
    while left or engine.has_work:
        if left:
            tickets[engine.add(left.pop(0))] = len(tickets)
        for event in engine.step():
            owner = event.ticket, event.rollout
            assert owner not in done
            tokens.setdefault(owner, []).append((event.token, event.logprob))
            if event.ended is not None:
                done[owner] = event.ended
                assert (
                    list(zip(event.ended.tokens, event.ended.logprobs, strict=True))
                    == tokens[owner]
                )
    return [
        [done[ticket, rollout] for rollout in range(requests[place].num_rollouts)]
        for ticket, place in tickets.items()
    ]


def loaded(config: DecoderConfig, state: Any, **options: Any) -> LocalEngine:
    engine = LocalEngine(config, **options)
    engine.load(state)
    return engine


KINDS: dict[str, tuple[DecoderConfig, dict[str, Any]]] = {
    "fp32": (CONFIG, {}),
    "bf16": (CONFIG, {"dtype": torch.bfloat16}),
    "olmo2": (small_config("olmo2", hidden_size=48, num_heads=6, num_kv_heads=1, head_dim=8), {}),
    "odd heads": (
        small_config(hidden_size=90, num_heads=9, num_kv_heads=3, head_dim=10, num_layers=1), {},
    ),
    "experts": (small_config("qwen3_moe", experts=Experts(8, 3, 72, normalised=True)), {}),
    "int8": (CONFIG, {"arithmetic": arithmetic_for("int8", CONFIG)}),
    "int4": (WIDE, {"arithmetic": arithmetic_for("int4", WIDE)}),
    "exact": (CONFIG, {"arithmetic": ExactArithmetic(CONFIG, VARIANTS["w7a8"], CPU)}),
}  # fmt: skip
SOON = ("fp32",)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in SOON else pytest.mark.slow) for kind in KINDS]
)
def test_every_bit_is_the_same_whatever_is_guessed(kind: str) -> None:
    config, options = KINDS[kind]
    state = lively_state(config)
    requests = [
        replace(
            each,
            num_rollouts=min(each.num_rollouts, 3),
            tells_experts=place % 2 == 0,
            tells_fingerprints=place % 3 == 0,
            cut=CUT if place % 3 == 1 and each.temperature and kind != "exact" else None,
        )
        for place, each in enumerate(ragged_requests(config.vocab_size, (5, 140)))
    ]
    plain = served(loaded(config, state, **options), requests)
    truth = truth_of(plain, requests)
    for wrong in (0.0, 0.3):
        guesser = Guesser(truth, wrong, config.vocab_size)
        for limits in (EngineLimits(), EngineLimits(max_slots=8, max_step_tokens=32, block=32)):
            engine = loaded(config, state, drafter=guesser, limits=limits, **options)
            guesser.ended.clear()
            assert served(engine, requests) == plain
            counts = engine.counts
            assert 0 < counts["tokens_guessed"] >= counts["guesses_stood"]
            assert len(guesser.ended) == sum(each.num_rollouts for each in requests)


class Avoiding:
    """A hand that forbids what was sampled last, and holds each look against what its sequence has said."""

    def __init__(self) -> None:
        self.said: list[int] = []
        self.looks = 0

    def steer(self, logits: Any) -> None:
        assert self.looks == len(self.said)
        self.looks += 1
        logits[self.said[-2:]] = -torch.inf
        logits[self.said] -= 0.1

    def took(self, token: int) -> None:
        self.said.append(token)


@dataclass
class Steered:
    hands: list[Avoiding] = field(default_factory=list)

    def hand(self, rollout: int) -> Hand:
        self.hands.append(Avoiding())
        return self.hands[-1]


@dataclass(frozen=True)
class Third:
    """Ends what said the same token three times."""

    token: int

    def after(self, state: int, token: int) -> int:
        state += token == self.token
        return -1 if state == 3 else state


def truth_of(plain: Sequence[Sequence[Rollout]], requests: Sequence[Request]) -> dict:
    return {
        (request.key, rollout): each.tokens
        for request, some in zip(requests, plain, strict=True)
        for rollout, each in enumerate(some)
    }


@pytest.mark.usefixtures("eager")
def test_hands_hear_each_token_in_its_order_and_endings_end_in_the_middle_of_a_guess() -> None:
    def requests() -> list[Request]:
        return [
            replace(REQUEST, key="hand", steering=Steered(), num_rollouts=2),
            replace(REQUEST, key="ending", ending=Third(7), max_new_tokens=200),
            replace(REQUEST, key="stop", stop_tokens=(9, 10), max_new_tokens=60),
            replace(REQUEST, key="all", max_new_tokens=37),
        ]

    plain = served(loaded(CONFIG, STATE), requests())
    assert plain[1][0].finished
    truth = truth_of(plain, requests())
    # Beyond an end, guesses go on.
    truth = {name: (*tokens, *range(64)) for name, tokens in truth.items()}
    engine = loaded(CONFIG, STATE, drafter=Guesser(truth, 0.1, 64))
    again = requests()
    assert served(engine, again) == plain
    steering = again[0].steering
    assert isinstance(steering, Steered)
    hands = [tuple(each.said) for each in steering.hands]
    assert hands == [each.tokens for each in plain[0]]
    assert all(each.looks == len(each.said) for each in steering.hands)


@pytest.mark.usefixtures("eager")
@pytest.mark.slow
def test_rows_keep_their_adapters() -> None:
    adapters = {name: lively_adapter(CONFIG, number) for number, name in enumerate("ab")}

    def engine(drafter: Guesser | None) -> LocalEngine:
        made = loaded(CONFIG, STATE, drafter=drafter)
        for name, adapter in adapters.items():
            made.adapt(name, adapter)
        return made

    requests = [replace(REQUEST, key=str(name), adapter=name) for name in ("a", None, "b", "a")]
    requests = [replace(each, key=str(place)) for place, each in enumerate(requests)]
    plain = served(engine(None), requests)
    assert len({each[0].tokens for each in plain[:3]}) == 3
    drafter = Guesser(truth_of(plain, requests), 0.1, 64)
    assert served(engine(drafter), requests) == plain


def test_a_draft_that_is_right_takes_a_pass_for_all_of_it() -> None:
    engine = loaded(CONFIG, STATE)
    plain = engine.generate([replace(REQUEST, max_new_tokens=60)])[0]
    drafted = replace(REQUEST, max_new_tokens=60, draft=plain[0].tokens)
    engine.add(drafted)
    assert len(engine.step()) == 1  # the prompt's
    events = engine.step()
    assert len(events) == 59
    assert list(events)[-1].ended == plain[0]
    assert [each.ended for each in events][:-1] == [None] * 58
    assert not engine.has_work


def test_a_draft_goes_on_after_what_was_wrong_in_it() -> None:
    plain = loaded(CONFIG, STATE).generate([REQUEST])[0][0]
    tokens = list(plain.tokens)
    tokens[20] = (tokens[20] + 1) % 64
    del tokens[50:53]
    engine, steps = loaded(CONFIG, STATE), 0
    engine.add(replace(REQUEST, draft=tuple(tokens)))
    while engine.has_work:
        events, steps = engine.step(), steps + 1
    assert list(events)[-1].ended == plain
    assert steps < 30


def test_a_draft_of_tokens_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="draft has a token outside"):
        loaded(CONFIG, STATE).add(replace(REQUEST, draft=(64,)))


@pytest.mark.usefixtures("eager")
def test_whoever_is_cancelled_leaves_nothing_behind() -> None:
    requests = [REQUEST, replace(REQUEST, key="b", num_rollouts=3, seed=6)]
    plain = served(loaded(CONFIG, STATE), requests)
    guesser = Guesser(truth_of(plain, requests), 0.5, 64)
    engine = loaded(CONFIG, STATE, drafter=guesser)
    going, left = (engine.add(each) for each in requests)
    engine.step()
    engine.step()
    engine.cancel(left)
    assert guesser.ended == {(left, rollout) for rollout in range(3)}
    events = Events.joined([])
    while engine.has_work:
        events = engine.step()
        assert {ticket for ticket, _ in events.owners} == {going}
    assert events.ended[going, 0] == plain[0][0]


def test_what_repeats_itself_is_looked_up() -> None:
    running = Running((Ticket(0), 0), REQUEST, [1, 2, 3, 4, 9, 9, 2, 3, 4])
    look_up = LookUp()
    assert look_up.propose([(running, 3)]) == [[9, 9, 2]]
    running.said += [9, 5, 6, 7]
    assert look_up.propose([(running, 3)]) == [()]
    running.said += [5, 6, 7]
    assert look_up.propose([(running, 8)]) == [[5, 6, 7, 5, 6, 7, 5, 6]]


def test_a_draft_is_found_again_where_the_answer_left_it() -> None:
    given = Given((5, 6, 7, 8, 9, 10, 11))
    assert given.next(2) == (5, 6)
    given.took(5)
    assert given.next(2) == (6, 7)
    given.took(1)
    assert given.next(2) == ()
    given.took(8)
    given.took(9)
    assert given.next(9) == (10, 11)


@pytest.mark.usefixtures("eager")
def test_looking_up_changes_no_bit_and_pays_where_text_repeats() -> None:
    said = tuple(range(1, 20)) * 4
    requests = [
        replace(
            REQUEST, prompt=said, temperature=0.0, key=str(seed), seed=seed, num_rollouts=rollouts
        )
        for seed, rollouts in ((1, 1), (2, 3))
    ]
    plain = served(loaded(CONFIG, STATE), requests)
    engine = loaded(CONFIG, STATE, drafter=LookUp())
    assert served(engine, requests) == plain
    assert engine.counts["guesses_stood"] > 0


@pytest.mark.parametrize("prompt", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_a_small_model_guesses_what_a_large_one_alike_would_say(prompt: int) -> None:
    """The same model stands for one that agrees; noise on its weights for one that mostly does."""
    requests = [
        replace(
            REQUEST, prompt=tuple(i * i % 64 for i in range(prompt)), key="a", max_new_tokens=24
        ),
        replace(REQUEST, key="b", seed=9, max_new_tokens=30, temperature=0.0),
        replace(
            REQUEST,
            key="c",
            seed=7,
            max_new_tokens=20,
            temperature=0.8,
            first_rollout=3,
            first_position=5,
        ),
    ]
    plain = served(loaded(CONFIG, STATE), requests)
    other = lively_state(CONFIG, 1)
    # Of a model so large that this one is small.
    large = replace(CONFIG, num_layers=40)
    noisy = {name: each + 0.05 * other[name] for name, each in STATE.items()}
    for state, least in ((STATE, 0.97), (noisy, 0.3)):
        drafter = DraftModel(
            FusedDecoder(CONFIG, state, FloatArithmetic(CONFIG, torch.float32, CPU)), large
        )
        engine = loaded(CONFIG, STATE, drafter=drafter)
        assert served(engine, requests) == plain
        counts = engine.counts
        assert counts["guesses_stood"] >= least * counts["tokens_guessed"] > 0


def test_vain_guesses_become_rare_and_right_ones_long() -> None:
    one, guessed = Pace(0.7), []
    for _ in range(10 * REST):
        guessed.append(one.length(1))
        if guessed[-1]:
            one.tell(guessed[-1], 0)
    assert sum(each > 0 for each in guessed[:REST]) <= 16
    assert sum(map(bool, guessed[REST:])) == sum(guessed[REST:]) <= 9
    for _ in range(12):
        one.tell(1, 1)
    assert one.length(1) > 16
    assert one.length(4) < one.length(1)
    assert one.length(round(1 / PRICE)) == 0
    assert one.length(1, own=0.7) < one.length(1, own=0.1) < one.length(1)


@pytest.mark.usefixtures("eager")
def test_a_pass_has_no_more_rows_than_it_may() -> None:
    requests = [replace(REQUEST, key=str(seed), seed=seed) for seed in range(4)]
    plain = served(loaded(CONFIG, STATE), requests)
    engine = loaded(CONFIG, STATE, drafter=Guesser(truth_of(plain, requests), 0.0, 64))
    for each in requests:
        engine.add(each)
    most = 0
    while engine.has_work:
        most = max(most, len(engine.step()))
    assert 4 < most <= ROWS
