"""What was read of a prompt is not read again for its own salt, never serves another, and moves no bit."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine, NonFiniteLogits, Request
from archipel.engine.prefixes import Chain, Prefixes
from engine.test_engine_adapters import lively_adapter
from engine.test_engine_open import BYTES_PER_POSITION, CONFIG, STATE, alone, loaded

BLOCK = 32
LIMITS = EngineLimits(block=BLOCK, max_step_tokens=BLOCK, max_prefix_bytes=2**20)
PROMPT = tuple(i * i % 61 for i in range(200))
ASKED = Request("a", PROMPT, seed=5, num_rollouts=2, max_new_tokens=12, salt="one")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def engine() -> LocalEngine:
    return loaded(LIMITS)


def reads(engine: LocalEngine, request: Request) -> tuple[int, int]:
    """Positions (read, reused) for one request, whose bits are those of an engine that holds nothing."""
    before = engine.counts
    assert engine.generate([request])[0] == tuple(alone(replace(request, adapter=None)))
    after = engine.counts
    return tuple(
        after[f"positions_{each}"] - before[f"positions_{each}"] for each in ("read", "reused")
    )


def test_a_prompt_that_begins_like_an_earlier_one_is_read_from_where_it_parts(
    engine: LocalEngine,
) -> None:
    assert reads(engine, ASKED) == (200, 0)
    assert reads(engine, ASKED) == (200 - 192, 192)
    longer = replace(ASKED, prompt=(*PROMPT[:100], 1, 2, *PROMPT[:40]), num_rollouts=1)
    assert reads(engine, longer) == (142 - 96, 96)
    assert reads(engine, replace(ASKED, prompt=PROMPT[:97])) == (1, 96)


def test_one_token_at_least_is_read_of_every_prompt(engine: LocalEngine) -> None:
    whole = replace(ASKED, prompt=PROMPT[:192])
    reads(engine, whole)
    assert reads(engine, whole) == (32, 160)


@pytest.mark.parametrize("salt", ["two", "", None])
def test_nothing_read_for_one_salt_serves_another(engine: LocalEngine, salt: str | None) -> None:
    reads(engine, ASKED)
    assert reads(engine, replace(ASKED, salt=salt)) == (200, 0)
    assert reads(engine, replace(ASKED, salt=None)) == (200, 0)
    assert reads(engine, ASKED) == (8, 192)


def test_two_that_begin_alike_and_enter_together_are_read_once(engine: LocalEngine) -> None:
    other = replace(ASKED, prompt=(*PROMPT, 1), seed=9)
    assert engine.generate([ASKED, other]) == [tuple(alone(ASKED)), tuple(alone(other))]
    assert engine.counts["positions_reused"] == 192


def test_other_weights_or_adapters_forget_what_was_read(engine: LocalEngine) -> None:
    reads(engine, ASKED)
    engine.load(STATE)
    assert reads(engine, ASKED) == (200, 0)
    for adapter in (lively_adapter(CONFIG, 0), lively_adapter(CONFIG, 1), None):
        engine.generate([ASKED])
        engine.adapt("mine", adapter)
        assert engine.counts["prefix_blocks"] == 0


def test_an_adapter_does_not_go_on_from_what_another_read(engine: LocalEngine) -> None:
    engine.adapt("mine", lively_adapter(CONFIG, 0))
    engine.adapt("yours", lively_adapter(CONFIG, 1))
    for name in ("mine", "yours", None):
        asked = replace(ASKED, adapter=name)
        fresh = engine.generate([replace(asked, salt=None)])
        before = engine.counts["positions_reused"]
        assert engine.generate([asked]) == fresh
        assert engine.counts["positions_reused"] == before
        assert engine.generate([asked]) == fresh
        assert engine.counts["positions_reused"] == before + 192


def test_an_engine_for_training_holds_nothing() -> None:
    engine = loaded(EngineLimits())
    engine.generate([ASKED, ASKED])
    assert engine.counts["prefix_blocks"] == engine.counts["positions_reused"] == 0


def test_numbers_of_broken_weights_are_not_held(engine: LocalEngine) -> None:
    engine.load({name: torch.full_like(t, torch.nan) for name, t in STATE.items()})
    with pytest.raises(NonFiniteLogits):
        engine.generate([ASKED])
    assert engine.counts["prefix_blocks"] == 0


def test_what_is_held_leaves_the_sequences_their_room() -> None:
    """A cache that has grown takes the prefixes' room; one that has become idle gives it back."""
    cache = 8 * 256 * BYTES_PER_POSITION
    engine = loaded(replace(LIMITS, max_cache_bytes=cache, max_prefix_bytes=cache // 2))
    reads(engine, ASKED)
    assert engine.counts["prefix_bytes"] == 192 * BYTES_PER_POSITION
    engine.generate([replace(ASKED, num_rollouts=8, salt=None, max_new_tokens=50)])
    assert engine.counts["prefix_bytes"] <= cache - 8 * 256 * BYTES_PER_POSITION
    reads(engine, ASKED)
    assert reads(engine, ASKED) == (8, 192)


plane = torch.zeros(1, 1, BLOCK, 1)
prompts = st.lists(st.sampled_from((0, 1)), min_size=1, max_size=6).map(
    lambda bits: tuple(bit for bit in bits for _ in range(BLOCK))
)


@settings(max_examples=60, deadline=None)
@given(
    asked=st.lists(st.tuples(st.sampled_from("ab"), prompts), max_size=20), room=st.integers(0, 9)
)
def test_what_is_held_keeps_to_its_bound_and_can_be_found_from_the_beginning(
    asked: list[tuple[str, tuple[int, ...]]], room: int
) -> None:
    prefixes, chain = Prefixes(), None
    prefixes.bound(room * plane.nbytes)
    for salt, tokens in asked:
        chain = Chain(salt, -1, (*tokens, 0), BLOCK)
        held = 0
        while prefixes.find(chain, held) is not None:
            held += 1
        for place in range(held, chain.shareable):
            prefixes.keep(chain, place, [(plane.clone(),)])
        prefixes.touch(chain)
        assert prefixes.num_bytes == len(prefixes) * plane.nbytes <= room * plane.nbytes
        found = [prefixes.find(chain, place) is not None for place in range(chain.shareable)]
        assert found == [place < room for place in range(chain.shareable)]


def test_equal_names_of_other_tokens_are_no_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chain, "name", lambda self, place: b"the same")
    prefixes = Prefixes()
    prefixes.bound(10 * plane.nbytes)
    one = Chain("a", -1, (1,) * BLOCK + (0,), BLOCK)
    prefixes.keep(one, 0, [(plane,)])
    assert prefixes.find(one, 0) is not None
    assert prefixes.find(Chain("a", -1, (2,) * BLOCK + (0,), BLOCK), 0) is None
    assert prefixes.find(Chain("b", -1, (1,) * BLOCK + (0,), BLOCK), 0) is None
    assert prefixes.find(Chain("a", 3, (1,) * BLOCK + (0,), BLOCK), 0) is None
