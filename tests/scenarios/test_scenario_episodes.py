"""A run of several turns with a tool over real processes: the central loop's weights, bit for bit."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch

from archipel.bench.central import Bench
from archipel.cli.archipel import run
from archipel.model.directory import read_model
from archipel.model.manifest import describe
from archipel.model.tokenizer import Tokenizer
from archipel.records.recipe import Recipe
from archipel.training.environments.environment import make_environment
from archipel.training.episodes import conduct_of
from archipel.training.rl import reinforce
from archipel.training.start import start_model
from archipel.training.trainer import Trainer
from archipel.work.engines import our_engine
from stage import Stage
from tiny import NAME, SECRET, tiny_recipe

VERSIONS = 4


def recipe() -> Recipe:
    told = tiny_recipe(VERSIONS, 0).model_dump()
    parameters = {"letters": 2, "hops": 1, "alphabet": 8}
    told["environment"] |= {"name": "drawers", "parameters": parameters}
    told["model"] |= {"max_position_embeddings": 64}
    told["sampling"] = {"max_new_tokens": 30}
    told["supervised"] |= {"steps": 500, "learning_rate": 6e-3}
    return Recipe.model_validate(told | {"episode": {"turns": 3}})


def central(of: Recipe, start: Path) -> list[str]:
    """Digest of every version that one process makes."""
    torch.set_num_threads(1)
    model, tokenizer = read_model(start), Tokenizer.from_directory(start)
    environment = make_environment(of.environment, of.run.seed, SECRET)
    conduct = conduct_of(of, environment, tokenizer)
    engine = our_engine(model.config, None)
    bench = Bench(of, environment, tokenizer, model.config, {}, engine, None, conduct)
    trainer = Trainer(model, of)
    digests = [describe(trainer.published_state(), 0, None).state]

    def note(report: object) -> None:
        digests.append(describe(trainer.published_state(), 1, None).state)

    reinforce(trainer, bench.rehearsal(), note)
    return digests


@pytest.mark.slow
def test_nodes_that_play_episodes_give_the_central_loops_weights(tmp_path: Path) -> None:
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
    answers = outcome.state.nodes[stage.site.did("one")]
    assert answers.plays
    with redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit) as ended:
        run(["run", "verify", NAME, "--home", str(stage.site.home("lab")), "--json"])
    assert not ended.value.code
    told = json.loads(said.getvalue())
    assert any("played again" in what for what in told["checked"])
