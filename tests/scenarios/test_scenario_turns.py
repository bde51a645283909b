"""Episodes that only the trusted role can answer, over real processes: nodes ask turn by turn through the lab."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from archipel.model.directory import write_model
from archipel.model.tokenizer import character_tokenizer
from archipel.node.turn_journal import FILE
from archipel.records.recipe import Recipe
from archipel.training.start import initial_model, start_model
from scenarios.lockstep import by_two_nodes, central, secret_file, verified
from stage import Stage
from tiny import tiny_recipe

VERSIONS = 4


def recipe(versions: int = VERSIONS) -> Recipe:
    told = tiny_recipe(versions, 0).model_dump()
    parameters = {"smallest": 3, "largest": 9, "guesses": 3}
    told["environment"] |= {"name": "guess", "parameters": parameters}
    told["model"] |= {"max_position_embeddings": 32}
    told["sampling"] = {"max_new_tokens": 16}
    told["supervised"] |= {"steps": 300, "learning_rate": 6e-3}
    return Recipe.model_validate(told | {"episode": {"turns": 3}})


HIDES = (
    "{% for m in messages %}<bos>{{ m.role[0] }}:{{ '-' if m.role == 'assistant' and not loop.last }}{{ m.content }}<eos>"
    "{% endfor %}{% if add_generation_prompt %}<bos>a:{% endif %}"
)
"""A chat template that marks earlier turns: each one begins a new sample."""


def retelling() -> Recipe:
    """By such a template, of tasks that are chosen."""
    told = recipe().model_dump()
    told["model"] |= {"max_position_embeddings": 128}
    told["sampling"] |= {"max_new_tokens": 80}
    told["episode"] |= {"rewritten": "new_sample"}
    return Recipe.model_validate(told | {"curriculum": {"pool": 11, "fresh": 0.25}})


def begun(of: Recipe, folder: Path, template: str | None) -> Path:
    """Weights after the supervised stage, in that template."""
    first, start = folder / "first", folder / "start"
    tokenizer = replace(character_tokenizer(), chat_template=template)
    model = initial_model(of, tokenizer)
    write_model(first, model, model.config, tokenizer)
    start_model(of, start, weights=first)
    return start


WAYS = {"plain": (recipe(), None), "retold": (retelling(), HIDES)}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_nodes_that_ask_turns_give_the_central_loops_weights(tmp_path: Path, way: str) -> None:
    of, template = WAYS[way]
    start = begun(of, tmp_path, template)
    with Stage(tmp_path / "site", start, VERSIONS, staleness=0) as stage:
        outcome = by_two_nodes(stage, of)
    assert outcome.policies == central(of, start)
    assert len(set(outcome.policies)) == VERSIONS + 1, "something was learned"
    made = [each.metrics for each in outcome.versions[1:]]
    assert {each["void_episodes"] for each in made} == {0}
    assert all((each.get("retold_episodes", 0) > 0) == (template is not None) for each in made)
    told = verified(stage, *secret_file(tmp_path), "--rewards", "--updates", "all")
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
