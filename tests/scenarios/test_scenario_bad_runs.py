"""Runs that cannot work, beside one that can: it is done, everybody lives, and why-stuck says what is wrong."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from archipel.model.directory import read_config, read_model, write_model
from archipel.model.tokenizer import Tokenizer
from archipel.node.operator import retry_run
from archipel.node.secrets import make_secret
from archipel.records.recipe import Recipe
from stage import Stage
from tiny import tiny_recipe

MakeStage = Callable[..., Stage]
VERSIONS = 4

REASONS = {
    "long": "prompts do not fit: beside 30 new tokens the model has room for 2, but that of group 0",
    "gone": "cannot read gone.jsonl: No such file or directory",
    "misspelt": "did you mean 'secret_order'?",
    "secretless": "make one with `archipel update secret nobody-has-it`",
    "foreign": "model_type is 'gpt2'; expected one of llama",
    "broken": "the run's weights are not all numbers: model.norm.weight is not finite",
    "unknown": "archipel update approve RECIPE",
}


def bad(name: str, **changed: dict[str, Any]) -> Recipe:
    """A run of its own digest."""
    recipe = tiny_recipe(2, 0).model_dump(mode="json")
    recipe["run"]["name"] = name
    for section, values in changed.items():
        recipe[section] |= values
    return Recipe.model_validate_json(json.dumps(recipe))


def foreign(start: Path, folder: Path) -> Path:
    """A directory of an architecture that is not here."""
    shutil.copytree(start, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    return folder


def broken(start: Path, folder: Path) -> Path:
    """A directory whose weights are no numbers."""
    state = dict(read_model(start).state_dict())
    state["model.norm.weight"] = torch.full_like(state["model.norm.weight"], float("nan"))
    write_model(folder, state, read_config(start), Tokenizer.from_directory(start))
    return folder


def open_bad_runs(stage: Stage, start: Path, folder: Path) -> None:
    jsonl = {"name": "jsonl", "secret": None, "parameters": {"path": "gone.jsonl"}}
    secret = {"secret": "nobody-has-it"}
    runs = {
        "long": (bad("long", sampling={"max_new_tokens": 30}), start),
        "gone": (bad("gone", environment=jsonl), start),
        "misspelt": (bad("misspelt", environment={"name": "secret_ordr"}), start),
        "secretless": (bad("secretless", environment=secret), start),
        "foreign": (bad("foreign"), foreign(start, folder / "foreign")),
        "broken": (bad("broken"), broken(start, folder / "broken")),
        "unknown": (bad("unknown"), start),
    }
    assert runs.keys() == REASONS.keys()
    for name, (recipe, weights) in runs.items():
        stage.site.open_run(recipe, weights, ["update"])
        if name == "unknown":
            (stage.site.home("update") / "recipes" / recipe.digest.removeprefix("sha256:")).unlink()


def told(stage: Stage) -> dict[str, str]:
    """Run -> what it waits for."""
    return {wait["run"]: wait["waiting_for"] for wait in stage.site.get("/waits") or []}


@pytest.mark.slow
def test_runs_that_cannot_work_end_nobody_hold_up_nobody_and_are_told(
    make_stage: MakeStage, start: Path, tmp_path: Path
) -> None:
    stage = make_stage(versions=VERSIONS)
    stage.site.start_lab()
    stage.site.keep_secret("update", "secret-order", b"only the verifier knows")
    open_bad_runs(stage, start, tmp_path)
    stage.site.start_update()
    node = stage.site.start_node("node")
    stage.wait(lambda: set(told(stage)) == set(REASONS), "the bad runs to be there")
    stage.site.open_run(stage.recipe, start, ["update"])
    stage.wait_for_version(VERSIONS)
    stage.wait(
        lambda: all(words in told(stage)[run] for run, words in REASONS.items()), "the reasons"
    )
    assert stage.site.running("update")
    assert stage.site.running("node")
    assert stage.site.nodes()[node].returned == 0, "no node ever saw one of them"
    make_secret(stage.site.home("update") / "secrets", "nobody-has-it")
    asyncio.run(retry_run(stage.site.url, stage.site.operator(), "secretless"))

    def is_complete() -> bool:
        view = stage.site.run("secretless")
        return view is not None and view.phase == "complete"

    stage.wait(is_complete, "the run whose secret was made")
    assert "secretless" not in told(stage)
    assert set(told(stage)) == set(REASONS) - {"secretless"}
