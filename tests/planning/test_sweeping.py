"""Curves and searches along one input of a plan, by the plan's own formulas."""

import numpy as np
import pytest

from archipel.planning.quantity import Source, Stated, given, stated
from archipel.planning.sampling import Draws
from archipel.planning.sweeping import least_within

WORK = Stated(1000.0, "assumed", Source("here", "here"), 300.0, 3000.0)


@pytest.mark.parametrize("most", [1.0, 17.0, 375.0, 4000.0])
def test_the_least_count_within_a_limit_is_what_trying_every_count_finds_in_each_world(most):
    """With a cost of every member, so that more of them are not always better."""
    work, count = stated("work", "h", WORK), given("count", 3.0, "site", "--count")
    limit = given("limit", 40.0, "h", "--limit")
    time = work / count * given("one", 1.0, "site", "") + count * given("each", 0.1, "h/site", "")
    draws = Draws(0, 60)
    found = least_within(time.named("time", "time"), count, limit, most)
    every = np.arange(1.0, most + 1)[:, None]
    kept = draws.samples(work) / every + 0.1 * every <= 40.0
    expected = np.where(kept.any(axis=0), every[np.argmax(kept, axis=0), 0], np.inf)
    assert np.array_equal(draws.samples(found), expected)
    at_centre = 1000.0 / every[:, 0] + 0.1 * every[:, 0] <= 40.0
    least = every[np.argmax(at_centre), 0] if at_centre.any() else np.inf
    assert draws.centre(found) == least
