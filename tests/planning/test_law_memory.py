"""Training memory: ZeRO's table, Korthikanti's formula, and sharding that never costs memory."""

import numpy as np
import pytest

from archipel.planning.laws import memory as law
from archipel.planning.laws.memory import Shape, Split

PARAMS = 7.5e9


def _states(split: Split) -> float:
    return float(
        law.weights(PARAMS, 2, split)
        + law.gradients(PARAMS, 2, split)
        + law.optimiser(PARAMS, 12, split)
    )


@pytest.mark.parametrize(("stage", "gigabytes"), [(0, 120), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_states_are_those_of_zeros_figure_1(stage: int, gigabytes: float) -> None:
    """Rajbhandari et al. 2019, figure 1: 7.5e9 parameters over 64 accelerators, K = 12."""
    assert _states(Split(64.0, 1.0, stage)) == pytest.approx(gigabytes * 1e9, rel=0.02)


@pytest.mark.parametrize(
    ("layers", "width", "heads", "ratio"), [(96, 12288, 96, 80), (105, 20480, 128, 64)]
)
def test_attention_part_of_activations_is_that_of_the_paper(
    layers: int, width: int, heads: int, ratio: float
) -> None:
    """Korthikanti et al. 2022, section 5: 5as/h is 80 for GPT-3 and 64 for MT-NLG at 2,048 tokens."""
    shape, split = Shape(layers, width, heads, 51200), Split(1.0)
    everything = law.activations(shape, 2048, 1, split, "none")
    selective = law.activations(shape, 2048, 1, split, "selective")
    assert everything / selective == pytest.approx((34 + ratio) / 34)
    assert selective == pytest.approx(2048 * width * layers * 34)


def test_recomputing_more_holds_less() -> None:
    shape, split = Shape(32, 4096, 32, 128256), Split(8.0)
    none, some, everything = (
        law.activations(shape, 8192, 1, split, mode) for mode in ("none", "selective", "full")
    )
    assert everything < some < none


@pytest.mark.parametrize("stage", law.STAGES)
def test_one_accelerator_holds_everything_whatever_the_stage(stage: int) -> None:
    assert _states(Split(1.0, 1.0, stage)) == pytest.approx(16 * PARAMS)
    assert law.gathered(PARAMS, 32, 2, Split(1.0, 1.0, stage)) == 0


def test_more_shards_and_tensor_parallel_never_hold_more() -> None:
    shards = np.array([_states(Split(float(n))) for n in (1, 2, 8, 64)])
    assert np.all(np.diff(shards) < 0)
    assert _states(Split(8.0, 2.0)) == pytest.approx(_states(Split(8.0)) / 2)


def test_least_accelerators_hold_it_and_one_fewer_does_not() -> None:
    least = law.least_accelerators(100.0, 10.0, 30.0)
    assert least == 5
    assert 100 / least + 10 <= 30 < 100 / (least - 1) + 10
    assert law.least_accelerators(1.0, 10.0, 30.0) == 1
    assert np.isinf(law.least_accelerators(100.0, 40.0, 30.0))


@pytest.mark.parametrize(("params", "layers", "width"), [(8e9, 32, 4096), (405e9, 126, 16384)])
def test_a_usual_shape_is_near_that_of_llama_3(params: float, layers: int, width: int) -> None:
    shape = law.shape_of(params, 120.0, 128.0, 128256.0)
    assert shape.layers == pytest.approx(layers, rel=0.15)
    assert shape.width == pytest.approx(width, rel=0.15)
    assert 12 * shape.layers * shape.width**2 == pytest.approx(params)
