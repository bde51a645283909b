"""A cache is never larger than allowed, never too small for what runs, and grows to what is asked."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from archipel.engine.cache import CacheShape
from archipel.engine.capacity import Capacity, Demand, EngineLimits, smallest_batch
from engine.engine_models import small_config

CONFIG = small_config(max_position_embeddings=512)
ONE = CacheShape(CONFIG.num_layers, 1, CONFIG.num_kv_heads, CONFIG.head_dim, 1).bytes_per_slot(
    torch.float32
)
demands = st.builds(Demand, st.integers(1, 600), st.integers(1, 16).map(lambda n: 32 * n))


@settings(max_examples=300, deadline=None)
@given(
    max_slots=st.integers(1, 300),
    sequences_of_512=st.integers(smallest_batch(), 300),
    moments=st.lists(st.tuples(demands, st.floats(0, 1)), min_size=1, max_size=8),
)
def test_a_cache_keeps_its_limits_and_what_runs(
    max_slots: int, sequences_of_512: int, moments: list[tuple[Demand, float]]
) -> None:
    limits = EngineLimits(max_slots=max_slots, max_cache_bytes=sequences_of_512 * 512 * ONE)
    capacity, held = Capacity(CONFIG, torch.float32, limits), None
    for demand, share in moments:
        rows = 0 if held is None else int(share * held.num_slots)
        shape = capacity.shape(demand, held, rows)
        assert shape.num_slots * shape.length * ONE <= limits.max_cache_bytes
        assert smallest_batch() <= shape.num_slots <= max(max_slots, smallest_batch())
        assert rows <= shape.num_slots
        assert rows > 0 or shape.length >= demand.length
        assert shape is held or held is None or shape != held
        held = shape


def test_a_first_cache_is_as_small_as_what_is_asked() -> None:
    capacity = Capacity(CONFIG, torch.float32, EngineLimits())
    shape = capacity.shape(Demand(8, 64), None, 0)
    assert (shape.num_slots, shape.length) == (8, 64)


def test_a_cache_in_use_doubles() -> None:
    capacity = Capacity(CONFIG, torch.float32, EngineLimits())
    held = capacity.shape(Demand(8, 64), None, 0)
    more = capacity.shape(Demand(9, 64), held, 8)
    longer = capacity.shape(Demand(9, 96), more, 9)
    assert (more.num_slots, more.length) == (16, 64)
    assert (longer.num_slots, longer.length) == (16, 128)


def test_a_long_request_waits_until_few_enough_run() -> None:
    capacity = Capacity(CONFIG, torch.float32, EngineLimits(max_cache_bytes=8 * 512 * ONE))
    held = capacity.shape(Demand(64, 64), None, 0)
    assert held.num_slots == 64
    assert capacity.shape(Demand(64, 512), held, 9) is held
    assert capacity.shape(Demand(64, 512), held, 8).length == 512
