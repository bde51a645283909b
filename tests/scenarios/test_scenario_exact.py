"""A run by the exact contract over real processes: the central loop's weights, bit for bit, whatever the nodes are."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from archipel.bench.central import Bench
from archipel.cli.archipel import run
from archipel.cli.toml import to_toml
from archipel.engine.exact.choice import read_choice
from archipel.model.config import DecoderConfig
from archipel.model.directory import read_model, write_model
from archipel.model.manifest import describe
from archipel.model.network import random_weights
from archipel.model.tokenizer import Tokenizer, character_tokenizer
from archipel.records.exact import CONTRACTS
from archipel.records.kinds.evaluate import EvaluateAnswer
from archipel.records.kinds.rollout import RolloutAnswer
from archipel.records.recipe import Recipe
from archipel.records.statements import WorkAnswered
from archipel.training.environments.environment import make_environment
from archipel.training.rl import reinforce
from archipel.training.trainer import Trainer
from archipel.work.engines import our_engine
from stage import Stage
from tiny import NAME, SECRET

W7A8 = CONTRACTS["w7a8"]


def central(recipe: Recipe, start: Path) -> list[str]:
    """Digest of every version that one process makes, sampling by the same contract."""
    torch.set_num_threads(1)
    model = read_model(start)
    environment = make_environment(recipe.environment, recipe.run.seed, SECRET)
    engine = our_engine(model.config, recipe.sampling.contract)
    bench = Bench(
        recipe, environment, Tokenizer.from_directory(start), model.config, {}, engine, None
    )
    trainer = Trainer(model, recipe)
    digests = [describe(trainer.published_state(), 0, None).state]
    reinforce(
        trainer,
        bench.rehearsal(),
        lambda report: digests.append(describe(trainer.published_state(), 1, None).state),
    )
    return digests


@pytest.mark.slow
def test_exact_nodes_of_any_kind_give_the_central_loops_weights(
    make_stage: Callable[..., Stage], start: Path
) -> None:
    stage = make_stage()
    exact = stage.recipe.sampling.model_copy(update={"engine": "exact", "variant": "w7a8"})
    stage.recipe = stage.recipe.model_copy(update={"sampling": exact})
    stage.open()
    unable = stage.site.start_node("unable", ["--engine", "transformers"])
    stage.wait(lambda: stage.node("unable") is not None, "the node that cannot")
    stage.wait_for_version(0)
    stage.wait(lambda: bool(stage.site.get("/waits")), "a run that waits")
    (wait,) = stage.site.get("/waits")
    assert f"1 node is at work, but did not state that it can do {W7A8}" in wait["advice"]
    stage.site.start_node("plain", ["--latency", "0.1"])
    stage.site.start_node("other", ["--dtype", "bfloat16", "--threads", "2"])
    outcome = stage.finished()
    assert outcome.policies == central(stage.recipe, start)
    assert outcome.state.nodes[unable].capabilities.exact is None
    assert (outcome.state.nodes[unable].works, outcome.state.nodes[unable].returned) == (0, 0)
    answers = [said.answer for said in outcome.history if isinstance(said, WorkAnswered)]
    sampled = [each for each in answers if isinstance(each, RolloutAnswer | EvaluateAnswer)]
    assert {each.exact for each in sampled} == {W7A8}
    assert all("mismatch_kl_micro" in made.metrics for made in outcome.versions[1:])
    assert any(made.metrics["ratio_max_micro"] != 1_000_000 for made in outcome.versions[1:])
    assert replayed(stage) == (0, True)


@pytest.mark.slow
def test_a_recipe_that_leaves_the_engine_open_is_decided_opened_and_run(
    make_stage: Callable[..., Stage], tmp_path: Path
) -> None:
    """A model that is large enough, really timed; the run goes by what was decided, whichever way that is here."""
    tokenizer = character_tokenizer()
    config = DecoderConfig(
        "llama", vocab_size=tokenizer.vocab_size, hidden_size=384, num_layers=6, num_heads=6,
        num_kv_heads=6, head_dim=64, intermediate_size=1024, max_position_embeddings=64,
    )  # fmt: skip
    start = tmp_path / "large"
    write_model(start, random_weights(config, 0), config, tokenizer)
    stage = make_stage(versions=1, staleness=0)
    site = stage.site
    site.start_lab()
    site.keep_secret("update", "secret-order", SECRET)
    site.start_update("update")
    recipe = tmp_path / "open.toml"
    sections = stage.recipe.model_dump(exclude_none=True, exclude={"sampling": {"engine"}})
    recipe.write_text(to_toml(sections))
    secret = site.home("update") / "secrets" / "secret-order"
    check = ["exact", "check", start, "--recipe", recipe, "--secret-file", secret, "--bound", 1]
    assert told(*check, "--windows", 4, "--write")["variant"] == "w7a8"
    role = ("--home", site.home("update"), "--key", site.home("lab") / "operator.key")
    words = ("run", "open", recipe, "--weights", start, *role, "--lab", site.url)
    chosen = told(*words)["sampled_by"]["variant"]
    assert chosen in (None, "w7a8")
    site.start_node("plain")
    stage.wait_for_version(1)
    shown = site.run(NAME)
    assert shown is not None
    assert shown.exact == (None if chosen is None else CONTRACTS[chosen])
    digest = site.fetch_weights(NAME, None, tmp_path / "out")
    assert read_choice(tmp_path / "out", digest).variant == "w7a8"


def told(*words: object) -> dict[str, Any]:
    """What a command prints for machines."""
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit) as ended:
        run([*map(str, words), "--json"])
    assert ended.value.code in (0, None)
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def replayed(stage: Stage) -> tuple[int, bool]:
    """Exit code of `archipel exact replay` from the lab's folder alone, and whether all was equal."""
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit) as ended:
        run(["exact", "replay", NAME, "--home", str(stage.site.home("lab")), "--json"])
    told = json.loads(out.getvalue())
    assert told["rollouts"] > 0
    return int(ended.value.code or 0), told["equal"]
