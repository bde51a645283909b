"""Batches that ask for further groups, completions that end at words, over real processes: the central loop's weights."""

from pathlib import Path

import pytest

from archipel.records.recipe import Recipe
from archipel.training.start import start_model
from scenarios.lockstep import by_two_nodes, central, secret_file, verified
from stage import Stage
from tiny import tiny_recipe

VERSIONS = 4


def recipe() -> Recipe:
    told = tiny_recipe(VERSIONS, 0).model_dump()
    told["algorithm"] |= {"refill": 2}
    told["sampling"] |= {"stop": ["ab", "c"], "allowed": "abcdefgh="}
    return Recipe.model_validate(told)


@pytest.mark.slow
def test_batches_that_ask_for_more_give_the_central_loops_weights(tmp_path: Path) -> None:
    start = tmp_path / "start"
    start_model(recipe(), start)
    with Stage(tmp_path / "site", start, VERSIONS, staleness=0) as stage:
        outcome = by_two_nodes(stage, recipe())
    assert outcome.policies == central(recipe(), start)
    made = [each.metrics for each in outcome.versions[1:]]
    assert {each["void_completions"] for each in made} == {0}
    assert sum(each["further_groups"] for each in made) > 0
    for arguments in (["--rewards"], ["--updates", "all"]):
        told = verified(stage, *secret_file(tmp_path), *arguments)
        assert any("read again" in what for what in told["checked"])
