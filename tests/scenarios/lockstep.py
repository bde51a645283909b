"""A run over real processes beside the same in one: its versions by a central loop, and what verification says."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

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
from archipel.training.trainer import Trainer
from archipel.work.engines import our_engine
from stage import Outcome, Stage
from tiny import NAME, SECRET


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


def by_two_nodes(stage: Stage, of: Recipe) -> Outcome:
    """The run to its end."""
    stage.recipe = of
    stage.open()
    stage.site.start_node("one")
    stage.site.start_node("two", ["--latency", "0.1"])
    return stage.finished()


def verified(stage: Stage, *arguments: str) -> dict[str, Any]:
    """What anybody with the lab's folder finds: no fault."""
    home = str(stage.site.home("lab"))
    with redirect_stdout(io.StringIO()) as said, pytest.raises(SystemExit) as ended:
        run(["run", "verify", NAME, "--home", home, *arguments, "--json"])
    told: dict[str, Any] = json.loads(said.getvalue())
    assert not ended.value.code, told
    return told


def secret_file(folder: Path) -> list[str]:
    """Options that give the run's secret."""
    secret = folder / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    return ["--secret-file", str(secret)]
