"""Attention's arithmetic: nothing at short sequences, all of it at long ones, and as the published formula says."""

import pytest

from archipel.planning.laws.attention import per_token, share
from archipel.planning.laws.memory import shape_of
from planning.asked import data, value


def test_the_share_is_the_published_count_over_6nd_for_a_usual_shape() -> None:
    """12·layers·width·sequence over 6·12·layers·width² (PaLM, appendix B)."""
    shape = shape_of(7e9, 120.0, 128.0, 32_000.0)
    assert share(8192.0, shape.width) == pytest.approx(
        per_token(shape.layers, shape.width, 8192.0) / (6.0 * 7e9)
    )


def test_it_grows_with_the_sequence_and_shrinks_with_the_width() -> None:
    assert share(65_536.0, 4096.0) == pytest.approx(32 * share(2048.0, 4096.0))
    assert share(2048.0, 8192.0) == pytest.approx(share(2048.0, 4096.0) / 2)


def test_counting_attention_takes_longer_and_lengthens_the_compute_but_not_6nd() -> None:
    asked = {"params": "7B", "tokens": "1T", "mfu": "0.4", "sequence": "32768"}
    without, counted = data("train", **asked), data("train", **asked, attention=True)
    assert value(counted, "train.flop_6nd") == value(without, "train.flop")
    longer = value(counted, "train.attention")
    assert value(counted, "train.flop") == pytest.approx(longer * value(without, "train.flop"))
    longer = value(counted, "train.accelerator_hours") / value(without, "train.accelerator_hours")
    assert longer == pytest.approx(value(counted, "train.attention"), rel=0.02)
    assert longer > 2
