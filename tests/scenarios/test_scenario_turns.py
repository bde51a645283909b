"""Episodes that only the trusted role can answer, over real processes: nodes ask turn by turn through the lab."""

import io
import json
import sqlite3
from contextlib import closing, redirect_stdout
from pathlib import Path

import pytest

from archipel.cli.archipel import run
from archipel.node.turn_journal import FILE
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


def in_an_episode(stage: Stage) -> list[str]:
    """Works in nodes' hands of which some turn was answered already."""
    file = stage.site.home("update") / FILE
    if not file.exists():
        return []
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as journal:
        if not journal.execute("SELECT 1 FROM sqlite_master WHERE name = 'turns'").fetchall():
            return []
        begun = {work for (work,) in journal.execute("SELECT DISTINCT work FROM turns")}
    return [each.work for each in stage.site.leases() if each.work in begun]


@pytest.mark.slow
def test_a_node_and_the_trusted_role_killed_within_episodes_change_nothing(tmp_path: Path) -> None:
    start = tmp_path / "start"
    start_model(recipe(), start)
    with Stage(tmp_path / "site", start, VERSIONS, staleness=0) as stage:
        stage.recipe = recipe()
        stage.open()
        stage.site.start_node("one")
        stage.wait(lambda: bool(in_an_episode(stage)), "an episode in the making")
        stage.site.kill("one")
        stage.site.start_node("two")
        stage.site.start_node("one")
        stage.wait_for_version(1)
        stage.wait(lambda: bool(in_an_episode(stage)), "another")
        stage.site.kill("update")
        stage.site.start_update("update")
        stage.wait_for_version(2)
        stage.restart_lab()
        outcome = stage.finished()
    assert outcome.policies == central(recipe(), start)
    assert {made.metrics["void_episodes"] for made in outcome.versions[1:]} == {0}
