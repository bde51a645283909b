"""A run of several turns with a tool over real processes: the central loop's weights, bit for bit."""

from pathlib import Path

import pytest

from archipel.records.recipe import Recipe
from archipel.training.start import start_model
from scenarios.lockstep import by_two_nodes, central, secret_file, verified
from stage import Stage
from tiny import tiny_recipe

VERSIONS = 4


def recipe(**sections: object) -> Recipe:
    told = tiny_recipe(VERSIONS, 0).model_dump()
    parameters = {"letters": 2, "hops": 1, "alphabet": 8}
    told["environment"] |= {"name": "drawers", "parameters": parameters}
    told["model"] |= {"max_position_embeddings": 64}
    told["sampling"] = {"max_new_tokens": 30}
    told["supervised"] |= {"steps": 500, "learning_rate": 6e-3}
    return Recipe.model_validate(told | {"episode": {"turns": 3}} | sections)


WAYS = {"by number": recipe(), "chosen": recipe(curriculum={"pool": 11, "fresh": 0.25})}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_nodes_that_play_episodes_give_the_central_loops_weights(tmp_path: Path, way: str) -> None:
    start, of = tmp_path / "start", WAYS[way]
    start_model(of, start)
    with Stage(tmp_path / "site", start, VERSIONS, staleness=0) as stage:
        outcome = by_two_nodes(stage, of)
    assert outcome.policies == central(of, start)
    assert {made.metrics["void_episodes"] for made in outcome.versions[1:]} == {0}
    assert outcome.state.nodes[stage.site.did("one")].plays
    told = verified(stage, *secret_file(tmp_path), "--rewards", "--updates", "all")
    assert any("played again" in what for what in told["checked"])
