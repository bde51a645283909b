"""Episodes that only the trusted role can answer, over real processes: nodes ask turn by turn through the lab."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from archipel.cli.archipel import run
from archipel.records.recipe import Recipe
from archipel.training.start import start_model
from scenarios.test_scenario_episodes import central
from stage import Stage
from tiny import NAME, tiny_recipe

VERSIONS = 4


def recipe(versions: int = VERSIONS) -> Recipe:
    told = tiny_recipe(versions, 0).model_dump()
    parameters = {"smallest": 3, "largest": 9, "guesses": 3}
    told["environment"] |= {"name": "guess", "parameters": parameters}
    told["model"] |= {"max_position_embeddings": 32}
    told["sampling"] = {"max_new_tokens": 16}
    told["supervised"] |= {"steps": 300, "learning_rate": 6e-3}
    return Recipe.model_validate(told | {"episode": {"turns": 3}})


@pytest.mark.slow
def test_nodes_that_ask_turns_give_the_central_loops_weights(tmp_path: Path) -> None:
    start = tmp_path / "start"
    start_model(recipe(), start)
    with Stage(tmp_path / "site", start, VERSIONS, staleness=0) as stage:
        stage.recipe = recipe()
        stage.open()
        stage.site.start_node("one")
        stage.site.start_node("two", ["--latency", "0.1"])
        outcome = stage.finished()
    assert outcome.policies == central(recipe(), start)
    assert {made.metrics["void_episodes"] for made in outcome.versions[1:]} == {0}
    with redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit) as ended:
        run(["run", "verify", NAME, "--home", str(stage.site.home("lab")), "--json"])
    assert not ended.value.code
    told = json.loads(said.getvalue())
    assert any("seal" in what for what in told["checked"])
