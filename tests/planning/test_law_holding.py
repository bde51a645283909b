"""What our trainer and engine hold: held against what they were measured to hold, and against the general law."""

import pytest

from archipel.model import network
from archipel.model.config import FAMILIES, Family
from archipel.model.directory import expected_shapes
from archipel.planning.laws import holding, memory
from archipel.planning.laws.holding import Pass, Shape, Thrift
from archipel.planning.laws.memory import Split
from archipel.training import packing, vocabulary
from archipel.work import room
from engine.engine_models import small_config

SMALL = Shape(8, 320, 8, 8, 40, 896, 64)
LARGE = Shape(9, 512, 8, 8, 64, 1408, 64)
MEASURED_UPDATE = [(SMALL, 1400e6), (LARGE, 2468e6)]
"""Highest resident memory over four versions; micro-batches of 12 rows of 243 places (tests/work/peaks.py)."""
MEASURED_SAMPLING = [(SMALL, 602e6), (LARGE, 1009e6)]
"""The same of 32 sequences of 80 positions from each of four versions."""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_as_the_network_has_them(family: Family, tied: bool) -> None:
    config = small_config(family, tie_embeddings=tied, vocab_size=500)
    real = sum(
        shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in expected_shapes(config).values()
    )
    assert room.shape_of(config).params == pytest.approx(real, rel=0.01)


@pytest.mark.parametrize(("shape", "measured"), MEASURED_UPDATE)
def test_an_update_holds_what_it_was_measured_to_hold(shape: Shape, measured: float) -> None:
    need = holding.update(shape, Pass(tokens=12 * 243, row=243, predicted=2700))
    assert need.peak == pytest.approx(measured, rel=0.2)


@pytest.mark.parametrize(("shape", "measured"), MEASURED_SAMPLING)
def test_a_node_holds_what_it_was_measured_to_hold(shape: Shape, measured: float) -> None:
    assert holding.sampling(shape, 32, 80).peak == pytest.approx(measured, rel=0.2)


def test_the_states_are_those_of_the_planners_law() -> None:
    """ZeRO's parts at 4 bytes of weights and gradients and 12 of masters and moments, on one machine."""
    params, once, whole = LARGE.params, Pass(512, 0, 512), Split(1.0)
    parts = memory.weights(params, 4, whole), memory.gradients(params, 4, whole)
    states = sum(parts) + memory.optimiser(params, 12, whole)
    ours = holding.update(LARGE, once)
    published = 2 * holding.BF16 * params
    assert ours.states + holding.FP32 * params - published == states


def test_eight_bit_moments_are_the_planners_law_at_two_bytes_and_their_scales() -> None:
    params, once = LARGE.params, Pass(512, 0, 512)
    plain = holding.update(LARGE, once)
    narrow = holding.update(LARGE, once, thrift=Thrift(eight_bit=True))
    law = memory.optimiser(params, 8, Split(1.0)) - memory.optimiser(params, 2, Split(1.0))
    assert plain.states - narrow.states == pytest.approx(law, rel=0.02)


def test_layers_computed_again_keep_the_planners_two_bytes_a_place_in_twice_the_bytes() -> None:
    """Korthikanti's full recomputation keeps 2·s·b·h a layer in 16 bits; ours one layer's inside beside it."""
    once, thrift = Pass(4096, 0, 4096), Thrift(recompute=True)
    law, kept = (
        [of(layers) for layers in (90, 10)]
        for of in (
            lambda n: memory.activations(memory.Shape(n, 512, 8, 64), 4096, 1, Split(1.0), "full"),
            lambda n: holding.activations(Shape(n, 512, 8, 8, 64, 1408, 64), once, thrift),
        )
    )
    assert kept[0] - kept[1] == pytest.approx(2 * (law[0] - law[1]), rel=0.01)


def test_each_saving_saves_and_together_they_save_more() -> None:
    once = Pass(4096, 0, 2048, 1024)
    shape = Shape(30, 576, 9, 3, 64, 1536, 49_152)
    whole = holding.update(shape, once).peak
    parts = [Thrift(narrow=True), Thrift(recompute=True), Thrift(eight_bit=True)]
    saved = [holding.update(shape, once, thrift=each).peak for each in parts]
    together = holding.update(shape, once, thrift=Thrift(True, True, True)).peak
    assert together < min(saved) < max(saved) < whole


def test_activations_are_near_the_planners_law_in_twice_the_bytes() -> None:
    """Korthikanti's 34 bytes are of 16-bit numbers and a feed-forward of 4 widths without a gate."""
    once = Pass(4096, 0, 4096)
    law = memory.activations(
        memory.Shape(LARGE.layers, LARGE.width, LARGE.heads, 64), 4096, 1, Split(1.0), "selective"
    )
    assert holding.activations(LARGE, once) == pytest.approx(2 * law, rel=0.35)


def test_logits_are_those_of_the_planners_law_until_they_are_taken_in_chunks() -> None:
    for predicted in (100, 1000):
        once = Pass(1000, 0, predicted)
        law = memory.logits(memory.Shape(9, 512, 8, 64), predicted, 1, Split(1.0))
        assert holding.logits(LARGE, once) == holding.LOGITS_ALIVE * law
    wide = Shape(9, 512, 8, 8, 64, 1408, 151_936)
    most = holding.LOGITS_ALIVE * holding.FP32 * holding.MAX_LOGITS
    assert holding.logits(wide, Pass(16_384, 0, 16_384)) <= most


def test_the_bounds_are_those_of_the_trainer_and_the_engine() -> None:
    from archipel.engine.capacity import EngineLimits

    limits = EngineLimits()
    assert vocabulary.MAX_LOGITS == holding.MAX_LOGITS
    assert network.MAX_PLAIN_LENGTH == holding.MAX_SCORED_ROW
    assert packing.SHARED_ROW_TOKENS == room.SHARED_ROW
    assert limits.max_cache_bytes == holding.MAX_CACHE
    assert limits.max_prefill_tokens == holding.MAX_PREFILL
    assert limits.max_slots == room.MAX_SLOTS


def test_an_adapter_needs_little_more_than_its_base() -> None:
    shape, once = Shape(30, 576, 9, 3, 64, 1536, 49_152), Pass(2048, 0, 1024)
    whole, adapter = holding.update(shape, once), holding.update(shape, once, rank=16)
    saved = 4 * holding.FP32 * shape.params
    assert whole.peak - adapter.peak > saved
    assert adapter.states < 1.5 * holding.FP32 * shape.params


def test_more_of_anything_needs_no_less() -> None:
    need = holding.sampling(SMALL, 32, 80).peak
    assert holding.sampling(SMALL, 64, 80).peak > need
    assert holding.sampling(SMALL, 32, 160).peak > need
    assert holding.sampling(LARGE, 32, 80).peak > need
    few, many = Pass(1000, 0, 1000), Pass(4000, 0, 4000)
    assert holding.update(SMALL, many).peak > holding.update(SMALL, few).peak
