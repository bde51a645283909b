"""The RL compute curve: start, middle and ceiling where they are said to be; generating dominates."""

import numpy as np
import pytest

from archipel.planning.laws import rl_curve as law
from archipel.planning.laws.rl_curve import Curve

SCALERL = Curve(0.30, 0.61, 3000.0, 1.97)


def test_the_curve_starts_at_r0_passes_half_at_the_midpoint_and_ends_at_the_ceiling() -> None:
    assert law.pass_rate(0.0, SCALERL) == pytest.approx(0.30)
    assert law.pass_rate(3000.0, SCALERL) == pytest.approx((0.30 + 0.61) / 2)
    assert law.pass_rate(1e12, SCALERL) == pytest.approx(0.61)


def test_equation_1_of_the_paper_in_its_own_form() -> None:
    """R_C - R_0 = (A - R_0) · 1/(1 + (C_mid/C)^B), Khatri et al. 2025."""
    hours = np.geomspace(100, 1e5, 20)
    gain = (0.61 - 0.30) / (1 + (3000.0 / hours) ** 1.97)
    assert law.pass_rate(hours, SCALERL) - 0.30 == pytest.approx(gain)


def test_at_one_to_four_generating_takes_four_fifths_and_twelve_times_a_training_flop() -> None:
    """INTELLECT-2 prints about 1:4 of training to inference compute."""
    assert law.generation_share(4.0) == pytest.approx(0.8)
    assert law.generation_inefficiency(4.0) == pytest.approx(12.0)
    generating = law.GENERATE * law.generation_inefficiency(4.0)
    assert generating == pytest.approx(4 * law.LEARN)
