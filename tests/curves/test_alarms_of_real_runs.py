"""Alarms at runs that really are trained: one that ends in one answer is named while its reward rises; others are not."""

from statistics import fmean

import pytest
import torch

from archipel.bench.central import prepare
from archipel.curves.concerns import concerns
from rehearsed import Rehearsed, two_answers
from tiny import SECRET, tiny_recipe

torch.set_num_threads(1)
HARMLESS = {"solved", "few-teach"}
"""True of these runs at their end and, for some seeds, at their start, when nearly every answer is wrong."""


def alarms(run: Rehearsed) -> dict[int, set[str]]:
    """Version -> kinds that are told there."""
    versions = range(1, run.recipe.run.versions + 1)
    return {v: {concern.kind for concern in concerns(run.history(v))} for v in versions}


def rewards(run: Rehearsed, versions: range) -> float:
    return fmean(run.points[version].values["reward"] for version in versions)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3))])
def test_a_policy_that_collapses_to_one_answer_is_named_while_its_reward_rises(seed: int) -> None:
    run = two_answers(0.7, told=False, seed=seed)
    run.run()
    told = alarms(run)
    first = min(version for version, kinds in told.items() if "collapse" in kinds)
    assert all("collapse" in told[version] for version in range(first, 41)), "and it goes on"
    assert rewards(run, range(first - 4, first + 1)) > 3 * rewards(run, range(1, 6))
    assert rewards(run, range(36, 41)) > 0.6, "all that one answer can earn"
    assert first <= 25, "long before the end"
    measured = run.points[first].values
    assert measured["entropy"] > 0.1, "before the entropy shows it"
    (found,) = (each for each in concerns(run.history(first)) if each.kind == "collapse")
    assert "which given to every task earns 0." in found.text
    before = {kind for version in range(1, first) for kind in told[version]}
    assert not before, "no alarm of anything else on the way"


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3))])
def test_a_policy_that_learns_which_of_two_answers_is_right_gives_no_alarm(seed: int) -> None:
    run = two_answers(0.5, told=True, seed=seed)
    run.run()
    assert rewards(run, range(36, 41)) > 0.9
    assert set().union(*alarms(run).values()) <= HARMLESS


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 1, 2])
def test_the_demos_task_in_small_gives_no_alarm_over_seeds(seed: int) -> None:
    recipe = tiny_recipe(40, 0)
    run = recipe.run.model_copy(update={"seed": seed, "groups_per_update": 16})
    recipe = recipe.model_copy(update={"run": run})
    bench = prepare(recipe, SECRET)
    told = Rehearsed(recipe, bench.environment, bench.tokenizer, bench.fresh_model())
    told.run()
    assert set().union(*alarms(told).values()) <= HARMLESS
