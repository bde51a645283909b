"""What parity measures is the recipe it was given, but for what it says."""

import math

from archipel.bench.parity import CENTRAL, PUBLISHED, Arm, ParityPlan, _with, replaced, summarise
from tiny import tiny_recipe

RECIPE = tiny_recipe(3, 1)


def test_a_recipe_keeps_its_own_loss_and_learning_rate() -> None:
    plan = ParityPlan(versions=7)
    measured = _with(RECIPE, 5, 2, plan, "parity-5-s2")
    assert measured.loss == RECIPE.loss
    assert measured.optimiser == RECIPE.optimiser
    assert (measured.run.seed, measured.run.max_staleness, measured.run.versions) == (5, 2, 7)
    assert replaced(RECIPE, plan) == ["run.versions = 7 instead of the recipe's 3"]
    assert not replaced(RECIPE, ParityPlan(versions=3))


def test_whatever_is_not_as_the_recipe_has_it_is_said() -> None:
    said = replaced(RECIPE, PUBLISHED)
    assert [line.split(" = ")[0] for line in said] == [
        "run.versions", "loss.name", "optimiser.learning_rate"
    ]  # fmt: skip
    measured = _with(RECIPE, 0, 0, PUBLISHED, "parity")
    assert measured.loss.name == "trust_region" != RECIPE.loss.name
    assert measured.optimiser.learning_rate == 5e-4 != RECIPE.optimiser.learning_rate


def test_a_ratio_to_nothing_is_no_number_and_no_zero() -> None:
    arms = [
        Arm(0, CENTRAL, 0.0, 0.5, (), "a", 8, {}),
        Arm(0, "S=0", 0.25, 0.5, (), "a", 8, {"0": 4}),
    ]
    (row,) = summarise(arms)
    assert math.isnan(row.reward_ratio.mean)
    assert row.greedy_ratio.mean == 1.0
