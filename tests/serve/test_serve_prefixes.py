"""What one key asked does not show in how soon another is answered: its prompts are read as if nobody had asked."""

import random
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import torch

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine
from archipel.engine.protocol import Event
from archipel.records.requests import Request
from archipel.serve.desk import Desk
from archipel.serve.queues import Listener
from engine.engine_models import lively_state, small_config

LIMIT_S = 60
LENGTH = 385
CONFIG = small_config(max_position_embeddings=400)
LIMITS = EngineLimits(max_step_tokens=64, block=64, max_prefix_bytes=2**26)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def house() -> Iterator["House"]:
    engine = LocalEngine(CONFIG, limits=LIMITS)
    engine.load(lively_state(CONFIG))
    made = House(engine, Desk(engine))
    yield made
    made.desk.close()


@dataclass
class House:
    """An engine behind a desk, and people with keys."""

    engine: LocalEngine
    desk: Desk
    chance: random.Random = field(default_factory=lambda: random.Random(3))

    def new_prompt(self) -> tuple[int, ...]:
        return tuple(self.chance.randrange(64) for _ in range(LENGTH))

    def ask(self, key: str, prompt: tuple[int, ...]) -> float:
        """Seconds to the first token."""
        heard = threading.Event()

        def hear(events: list[Event]) -> None:
            heard.set()

        asked = Request("", prompt, seed=1, num_rollouts=1, max_new_tokens=1)
        begun_s = time.perf_counter()
        self.desk.ask(Listener(asked, key, hear, lambda refusal: None))
        assert heard.wait(LIMIT_S)
        return time.perf_counter() - begun_s

    def reused(self) -> int:
        return self.engine.counts["positions_reused"]


def test_what_a_key_asked_is_read_again_for_every_other_key_and_not_for_itself(
    house: House,
) -> None:
    prompt = house.new_prompt()
    for key in ("mine", "yours", "his"):
        house.ask(key, prompt)
        assert house.reused() == 0
    house.ask("mine", prompt)
    assert house.reused() == LENGTH - 1


@pytest.mark.slow
def test_the_time_to_the_first_token_does_not_tell_what_another_key_asked(house: House) -> None:
    """A permutation test, which does tell what the same key asked."""
    times: dict[str, list[float]] = {"new": [], "another's": [], "own": []}
    for _ in range(80):
        kind, prompt = house.chance.choice(list(times)), house.new_prompt()
        house.ask("hers", prompt)
        if kind == "own":
            house.ask("mine", prompt)
        times[kind].append(house.ask("mine", house.new_prompt() if kind == "new" else prompt))
    assert chance(times["new"], times["own"]) < 0.01, "the test would see it"
    assert chance(times["new"], times["another's"]) > 0.001


def chance(one: Sequence[float], other: Sequence[float]) -> float:
    """How often a random division of all these differs in its medians as much as this one, or more."""
    shuffler, times = random.Random(0), [*one, *other]

    def apart() -> float:
        return abs(statistics.median(times[: len(one)]) - statistics.median(times[len(one) :]))

    found, as_much, rounds = apart(), 0, 2000
    for _ in range(rounds):
        shuffler.shuffle(times)
        as_much += apart() >= found
    return (as_much + 1) / (rounds + 1)
