"""A cache is never larger than allowed, never too small for what runs, and grows to what is asked."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.engine.arithmetic import FloatArithmetic
from archipel.engine.cache import CacheShape
from archipel.engine.capacity import Capacity, Demand, EngineLimits
from archipel.records.requests import InvalidRequest, Request
from engine.engine_models import small_config

CONFIG = small_config(max_position_embeddings=512)
NUMBERS = FloatArithmetic(CONFIG, torch.float32, torch.device("cpu"))
ONE = CacheShape(CONFIG.num_layers, 1, CONFIG.num_kv_heads, NUMBERS.planes, 1).bytes_per_slot
demands = st.builds(Demand, st.integers(1, 600), st.integers(1, 16).map(lambda n: 32 * n))


@settings(max_examples=300, deadline=None)
@given(
    max_slots=st.integers(1, 300),
    sequences_of_512=st.integers(NUMBERS.min_rows(), 300),
    moments=st.lists(st.tuples(demands, st.floats(0, 1)), min_size=1, max_size=8),
)
def test_a_cache_keeps_its_limits_and_what_runs(
    max_slots: int, sequences_of_512: int, moments: list[tuple[Demand, float]]
) -> None:
    limits = EngineLimits(max_slots=max_slots, max_cache_bytes=sequences_of_512 * 512 * ONE)
    capacity, held = Capacity(NUMBERS, limits), None
    for demand, share in moments:
        rows = 0 if held is None else int(share * held.num_slots)
        shape = capacity.shape(demand, held, rows)
        assert shape.num_slots * shape.length * ONE <= limits.max_cache_bytes
        assert NUMBERS.min_rows() <= shape.num_slots <= max(max_slots, NUMBERS.min_rows())
        assert rows <= shape.num_slots
        assert rows > 0 or shape.length >= demand.length
        assert shape is held or held is None or shape != held
        held = shape


def test_a_first_cache_is_as_small_as_what_is_asked() -> None:
    capacity = Capacity(NUMBERS, EngineLimits())
    shape = capacity.shape(Demand(8, 64), None, 0)
    assert (shape.num_slots, shape.length) == (8, 64)


def test_a_cache_in_use_doubles() -> None:
    capacity = Capacity(NUMBERS, EngineLimits())
    held = capacity.shape(Demand(8, 64), None, 0)
    more = capacity.shape(Demand(9, 64), held, 8)
    longer = capacity.shape(Demand(9, 96), more, 9)
    assert (more.num_slots, more.length) == (16, 64)
    assert (longer.num_slots, longer.length) == (16, 128)


def test_a_cache_stays_as_it_is_while_it_just_serves() -> None:
    capacity = Capacity(NUMBERS, EngineLimits())
    held = capacity.shape(Demand(8, 64), None, 0)
    for demand in (Demand(8, 64), Demand(5, 64), Demand(8, 32), Demand(1, 32)):
        for rows in (0, 1, 8):
            assert capacity.shape(demand, held, rows) is held


def test_what_suffices_is_not_doubled() -> None:
    capacity = Capacity(NUMBERS, EngineLimits())
    held = capacity.shape(Demand(8, 64), None, 0)
    longer = capacity.shape(Demand(8, 96), held, 8)
    assert (longer.num_slots, longer.length) == (8, 128), "only positions were wanting"
    more = capacity.shape(Demand(9, 64), held, 8)
    assert (more.num_slots, more.length) == (16, 64), "only slots were wanting"


def test_a_cache_never_doubles_beyond_the_models_last_position() -> None:
    capacity = Capacity(NUMBERS, EngineLimits())
    held = capacity.shape(Demand(8, 320), None, 0)
    assert capacity.shape(Demand(8, 352), held, 8).length == 512


def test_an_idle_cache_is_made_exactly_as_asked() -> None:
    capacity = Capacity(NUMBERS, EngineLimits())
    held = capacity.shape(Demand(8, 64), None, 0)
    shape = capacity.shape(Demand(9, 96), held, 0)
    assert (shape.num_slots, shape.length) == (9, 96)


def request_of(num_prompt: int, num_new: int, token: int = 0) -> Request:
    return Request("r", (token,) * num_prompt, 0, 1, num_new)


def test_exactly_what_fits_is_accepted_and_one_more_is_refused() -> None:
    least = NUMBERS.min_rows()
    roomy = Capacity(NUMBERS, EngineLimits())
    roomy.check(request_of(500, 12))
    roomy.check(request_of(1, 511, CONFIG.vocab_size - 1))
    for num_new, token in ((512, 0), (5, CONFIG.vocab_size), (5, -1)):
        with pytest.raises(InvalidRequest):
            roomy.check(request_of(1, num_new, token))
    length = roomy.length_of(request_of(500, 12))
    for short_by, is_refused in ((0, False), (1, True)):
        limits = EngineLimits(max_cache_bytes=least * length * ONE - short_by)
        tight = Capacity(NUMBERS, limits)
        if is_refused:
            with pytest.raises(InvalidRequest, match=f"expected at least {least}"):
                tight.check(request_of(500, 12))
        else:
            tight.check(request_of(500, 12))


def test_a_long_request_waits_until_few_enough_run() -> None:
    capacity = Capacity(NUMBERS, EngineLimits(max_cache_bytes=8 * 512 * ONE))
    held = capacity.shape(Demand(64, 64), None, 0)
    assert held.num_slots == 64
    assert capacity.shape(Demand(64, 512), held, 9) is held
    assert capacity.shape(Demand(64, 512), held, 8).length == 512


@pytest.mark.parametrize("num_bytes", [2**16, 2**18, 2**20, 2**26])
def test_the_longest_request_is_served_and_one_token_more_is_refused(num_bytes: int) -> None:
    capacity = Capacity(NUMBERS, EngineLimits(max_cache_bytes=num_bytes))
    capacity.check(Request("", (1,), 0, 1, capacity.longest - 1))
    with pytest.raises(InvalidRequest, match="expected at"):
        capacity.check(Request("", (1,), 0, 1, capacity.longest))
