"""What parity measures is the recipe it was given, but for what it says."""

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from archipel.bench import parity
from archipel.bench.kept import Kept
from archipel.bench.parity import (
    CENTRAL,
    PUBLISHED,
    Arm,
    ParityPlan,
    _asked,
    _with,
    measure,
    replaced,
)
from archipel.bench.parity_report import summarise
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


def test_arms_that_were_run_before_are_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is stopped goes on with the arm at hand, in the seed at hand."""
    run: list[tuple[int, int | None]] = []
    stop = {(1, 0)}

    class _Arms:
        def __init__(self, recipe: Any, plan: ParityPlan, seed: int, site: Any) -> None:
            self._seed = seed

        def arm(self, bound: int | None) -> Arm:
            if (self._seed, bound) in stop:
                raise KeyboardInterrupt
            run.append((self._seed, bound))
            return Arm(self._seed, "x", 0.5, 0.5, (0.25,), "d", 8, {"0": 4})

    sites: list[Path] = []
    monkeypatch.setattr(parity, "_Seed", _Arms)
    monkeypatch.setattr(
        parity, "_site", lambda stack, folder, environment: sites.append(folder) or 1
    )
    plan = ParityPlan(seeds=(0, 1), staleness=(0, 2), versions=3)
    with pytest.raises(KeyboardInterrupt):
        measure(RECIPE, plan, tmp_path, {}, lambda arm: None)
    before, run[:] = list(run), []
    stop.clear()
    arms = measure(RECIPE, plan, tmp_path, {}, lambda arm: None)
    assert before == [(0, None), (0, 0), (0, 2), (1, None)]
    assert run == [(1, 0), (1, 2)]
    assert (len(arms), len(sites), arms[0].curve) == (6, 2, (0.25,))
    run[:] = []
    assert measure(RECIPE, plan, tmp_path, {}, lambda arm: None) == arms
    assert (run, len(sites)) == ([], 2), "nothing is started where nothing is missing"
    measure(RECIPE, replace(plan, versions=4), tmp_path, {}, lambda arm: None)
    assert len(run) == 6, "other words are another step"


def test_a_centralised_arm_is_not_the_one_at_staleness_0(tmp_path: Path) -> None:
    kept, plan = Kept(tmp_path), ParityPlan()
    arm = Arm(0, CENTRAL, 0.5, 0.5, (), "d", 8, {})
    kept.keep(_asked(RECIPE, plan, 0, None), asdict(arm))
    assert kept.find(_asked(RECIPE, plan, 0, 0)) is None
    assert kept.find(_asked(RECIPE, plan, 1, None)) is None
