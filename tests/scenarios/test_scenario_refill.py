"""Batches that ask for further groups, completions that end at words, over real processes: the central loop's weights."""

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
from archipel.training.rl import reinforce
from archipel.training.start import start_model
from archipel.training.trainer import Trainer
from archipel.work.engines import our_engine
from stage import Stage
from tiny import NAME, SECRET, tiny_recipe

VERSIONS = 4


def recipe() -> Recipe:
    told = tiny_recipe(VERSIONS, 0).model_dump()
    told["algorithm"] |= {"refill": 2}
    told["sampling"] |= {"stop": ["ab", "c"], "allowed": "abcdefgh="}
    return Recipe.model_validate(told)


def central(of: Recipe, start: Path) -> list[str]:
    """Digest of every version that one process makes."""
    torch.set_num_threads(1)
    model, tokenizer = read_model(start), Tokenizer.from_directory(start)
    environment = make_environment(of.environment, of.run.seed, SECRET)
    engine = our_engine(model.config, None)
    bench = Bench(of, environment, tokenizer, model.config, {}, engine, None)
    trainer = Trainer(model, of)
    digests = [describe(trainer.published_state(), 0, None).state]

    def note(report: object) -> None:
        digests.append(describe(trainer.published_state(), 1, None).state)

    reinforce(trainer, bench.rehearsal(), note)
    return digests


@pytest.mark.slow
def test_batches_that_ask_for_more_give_the_central_loops_weights(tmp_path: Path) -> None:
    start = tmp_path / "start"
    start_model(recipe(), start)
    with Stage(tmp_path / "site", start, VERSIONS, staleness=0) as stage:
        stage.recipe = recipe()
        stage.open()
        stage.site.start_node("one")
        stage.site.start_node("two", ["--latency", "0.1"])
        outcome = stage.finished()
    assert outcome.policies == central(recipe(), start)
    made = [each.metrics for each in outcome.versions[1:]]
    assert {each["void_completions"] for each in made} == {0}
    assert sum(each["further_groups"] for each in made) > 0
    for arguments in (["--rewards"], ["--updates", "all"]):
        told = verified(stage, tmp_path, arguments)
        assert any("read again" in what for what in told["checked"])


def verified(stage: Stage, folder: Path, arguments: list[str]) -> dict:
    """What anybody with the lab's folder finds."""
    secret = folder / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    home, named = str(stage.site.home("lab")), ["--secret-file", str(secret)]
    with redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit) as ended:
        run(["run", "verify", NAME, "--home", home, *named, *arguments, "--json"])
    told = json.loads(said.getvalue())
    assert not ended.value.code, told
    return told
